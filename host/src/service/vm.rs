//! The state of one VM that the service's lock protects.

use super::devices::Devices;
use super::history::History;
use super::holders::Holders;
use super::rate::TokenBucket;
use super::record::feature_of;
use super::saved::Owed;
use super::trapped::Trapped;
use super::{Config, SetupError, Storm};
use crate::device::{Capabilities, Device, Origin};
use crate::irte::{IrteInfo, IrteTable, RoutePolicy};
use crate::kvm::{GsiPool, IrqRouter};
use crate::line::LineTable;
use crate::log_limit::LogLimit;
use crate::message::Message;
use pvir_abi::{DeviceId, Features, GuestPhysAddr, Handle, Status, Store};
use std::collections::BTreeSet;
use std::io;

/// What ENABLE has granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) features: Features,
    /// The epoch that ENABLE gave: every event since has raised the epoch by one.
    pub(super) first_epoch: u64,
    /// The guest physical address of the event area, if the guest has registered one.
    pub(super) event_area: Option<GuestPhysAddr>,
    /// The message by which events are announced, if the guest took NOTIFY.
    pub(super) notify: Option<Message>,
    /// Whether the latest event could not be announced.
    pub(super) owes_notify: bool,
}

/// A device of the VM, and what is mapped of it.
pub(super) struct Attached {
    pub(super) device: Box<dyn Device>,
    pub(super) capabilities: Capabilities,
    /// Whether the guest programs the device; otherwise its store is emulated.
    pub(super) open: bool,
    pub(super) mapped: Holders,
    /// IRTEs that the device's entries hold: one for each message.
    pub(super) held: u32,
    pub(super) trapped: Option<Trapped>,
    /// Whether the host has cut the device off: nothing of it is mapped or sent until it is readmitted.
    pub(super) cut_off: bool,
    /// Why, if it was for its interrupts.
    pub(super) storm: Option<Storm>,
    /// Whether the device came in a session whose guest did not take ATTACH: to that guest it is not there (I5).
    pub(super) unseen: bool,
}

pub(super) struct Vm {
    pub(super) policy: RoutePolicy,
    pub(super) session: Option<Session>,
    /// The epoch of the latest session; 0 before the first.
    pub(super) epoch: u64,
    pub(super) devices: Devices,
    /// Devices that went in this session.
    pub(super) gone: BTreeSet<DeviceId>,
    pub(super) irtes: IrteTable,
    /// IRTEs that all devices hold: one for each message.
    pub(super) held: u32,
    pub(super) lines: LineTable,
    /// Maximum number of lines that are armed ahead ([`Config::armed_ahead`]).
    pub(super) armed_ahead: u32,
    pub(super) max_irtes: u32,
    pub(super) max_irtes_per_device: u32,
    /// Interrupts that the host holds for entries which the guest has yet to map.
    pub(super) owed: Owed,
    pub(super) history: History,
    pub(super) log: LogLimit,
    pub(super) rate: TokenBucket,
}

impl Vm {
    pub(super) fn new(config: &Config, router: Box<dyn IrqRouter>, gsis: GsiPool) -> Self {
        Self {
            policy: RoutePolicy::new(config.apic_ids.clone()),
            session: None,
            epoch: 0,
            devices: Devices::default(),
            gone: BTreeSet::new(),
            irtes: IrteTable::default(),
            held: 0,
            max_irtes: config.max_irtes.min(gsis.free()),
            max_irtes_per_device: config.max_irtes_per_device,
            lines: LineTable::new(router, gsis),
            armed_ahead: config.armed_ahead,
            owed: Owed::default(),
            history: History::default(),
            log: LogLimit::default(),
            rate: TokenBucket::new(config.rate_limit),
        }
    }

    pub(super) fn add_device(&mut self, id: DeviceId, device: Box<dyn Device>) -> Result<(), SetupError> {
        // A guest that takes its devices one at a time finds one more; for any other one the set is that of its ENABLE.
        let unseen = self.session.is_some() && !self.is_by_device();
        let capabilities = device.capabilities();
        let trapped = Trapped::of(&*device);
        let mapped = Holders::default();
        let attached = Attached {
            device,
            capabilities,
            open: false,
            mapped,
            held: 0,
            trapped,
            cut_off: false,
            storm: None,
            unseen,
        };
        if !self.devices.insert(id, attached) {
            return Err(SetupError::DuplicateDevice(id));
        }
        if self.session.is_some() {
            self.log.info(|| {
                format!("device {id} has come while pvir is enabled; the guest sees it: {}", !unseen)
            });
        }
        if !unseen {
            self.gone.remove(&id);
        }
        Ok(())
    }

    /// A device that the guest may name.
    pub(super) fn named(&self, id: DeviceId) -> Result<&Attached, Status> {
        self.devices.get(&id).filter(|attached| !attached.unseen).ok_or_else(|| self.absent(id))
    }

    /// Whether the device is there, but not for the guest of this session.
    pub(super) fn is_unseen(&self, id: DeviceId) -> bool {
        self.devices.get(&id).is_some_and(|attached| attached.unseen)
    }

    /// The status for a device that the VM does not have.
    pub(super) fn absent(&self, id: DeviceId) -> Status {
        if self.gone.contains(&id) { Status::DEVICE_GONE } else { Status::NO_DEVICE }
    }

    /// Features that the guest took; none while not enabled.
    pub(super) fn enabled(&self) -> Features {
        self.session.map_or(Features::empty(), |session| session.features)
    }

    /// Whether the guest takes its devices one at a time.
    pub(super) fn is_by_device(&self) -> bool {
        self.enabled().contains(Features::ATTACH)
    }

    /// The epoch for the header: 0 while not enabled.
    pub(super) fn current_epoch(&self) -> u64 {
        if self.session.is_some() { self.epoch } else { 0 }
    }

    pub(super) fn infos(&self) -> Vec<IrteInfo> {
        self.irtes.iter().flat_map(|(handle, irte)| irte.infos(handle)).collect()
    }

    /// Logs a failure of the host, and gives the status that the guest sees for it.
    pub(super) fn failed(&self, what: &str, origin: &Origin, status: Status, error: &io::Error) -> Status {
        match self.devices.get(&origin.device) {
            Some(attached) => report_failure(&self.log, attached, what, origin, status, error),
            None => status,
        }
    }
}

/// Logs a failure of the host under the bound, and gives the status that the guest sees for it.
pub(super) fn report_failure(
    log: &LogLimit,
    attached: &Attached,
    what: &str,
    origin: &Origin,
    status: Status,
    error: &io::Error,
) -> Status {
    let name = attached.device.name();
    log.warn(|| format!("{what} of {origin} ({name}) failed: {error}; the guest gets {status:?}"));
    status
}

impl Attached {
    /// Whether one of the device's stores is served to a guest that took `features`.
    pub(super) fn is_served(&self, features: Features) -> bool {
        let stores = [Store::MSI, Store::MSIX, Store::IMS].into_iter();
        let mut of_device = stores.filter(|store| self.capabilities.entries(*store).is_some());
        of_device.any(|store| feature_of(store).is_some_and(|feature| features.contains(feature)))
    }

    /// What has the interrupt of the entry `origin`: its own IRTE, or that of the entry that shares the interrupt.
    pub(super) fn holder(&self, origin: &Origin) -> Option<Handle> {
        self.mapped.get(self.device.backing(origin.store, origin.index))
    }
}
