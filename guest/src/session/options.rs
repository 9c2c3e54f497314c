//! What a kernel asks of ENABLE.

use crate::events::EventMemory;
use crate::ledger::Ledger;
use crate::{Error, IrteLedger};
use pvir_abi::{EnableRecord, Features};

/// Where events are announced by an interrupt (statement V4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Notify {
    /// APIC id of the vCPU.
    pub apic_id: u32,
    /// The vector, 32 to 255.
    pub vector: u8,
}

impl Notify {
    /// Announcements on `vector`, 32 to 255, of the vCPU with APIC id `apic_id`.
    #[must_use]
    pub const fn new(apic_id: u32, vector: u8) -> Self {
        Self { apic_id, vector }
    }
}

/// What a kernel asks for with ENABLE: features, and what belongs to them.
#[must_use]
#[derive(Debug)]
pub struct EnableOptions {
    pub(super) features: Features,
    pub(super) events: Option<EventMemory>,
    notify: Option<Notify>,
    pub(super) ledger: Option<Ledger>,
    pub(super) takes_over: bool,
}

impl EnableOptions {
    /// Options that ask for `features`. EPOCH and NOTIFY are asked for by [`EnableOptions::with_events`] and
    /// [`EnableOptions::with_notify`].
    pub const fn new(features: Features) -> Self {
        Self { features, events: None, notify: None, ledger: None, takes_over: false }
    }

    /// The same options with EPOCH, and the event area in `memory`.
    pub fn with_events(self, memory: EventMemory) -> Self {
        Self { features: self.features | Features::EPOCH, events: Some(memory), ..self }
    }

    /// The same options with NOTIFY. It needs an event area.
    pub fn with_notify(self, notify: Notify) -> Self {
        Self { features: self.features | Features::NOTIFY, notify: Some(notify), ..self }
    }

    /// The same options with ATTACH: ENABLE hands no device over, and each goes on as before until
    /// [`Remapping::attach`](crate::Remapping::attach).
    pub fn device_by_device(self) -> Self {
        Self { features: self.features | Features::ATTACH, ..self }
    }

    /// The same options, and a session that another kernel has left behind is ended before: for a kernel that was
    /// started by another one, with kexec or to write down a crash (statement X2). The IRTEs of the other are given
    /// back, its event area is written no more, and its devices are trapped for a moment.
    pub fn taking_over(self) -> Self {
        Self { takes_over: true, ..self }
    }

    /// The same options, with a ledger of what the guest holds: handles and pairs are then compared with those of
    /// earlier batches. One session uses it at a time.
    pub fn with_ledger<const BUCKETS: usize>(self, ledger: &'static IrteLedger<BUCKETS>) -> Self {
        Self { ledger: Some(Ledger::new(ledger)), ..self }
    }

    pub(super) fn record(&self) -> Result<EnableRecord, Error> {
        let has = |feature| self.features.contains(feature);
        if has(Features::EPOCH) != self.events.is_some() {
            return Err(Error::InconsistentOptions(Features::EPOCH));
        }
        if has(Features::NOTIFY) != self.notify.is_some() || (has(Features::NOTIFY) && !has(Features::EPOCH))
        {
            return Err(Error::InconsistentOptions(Features::NOTIFY));
        }
        let area = self.events.as_ref().map(EventMemory::address);
        let request = EnableRecord::request(self.features, area);
        let (apic_id, vector) = self.notify.map_or((0, 0), |to| (to.apic_id, u32::from(to.vector)));
        Ok(EnableRecord { notify_apic_id: apic_id, notify_vector: vector, ..request })
    }
}
