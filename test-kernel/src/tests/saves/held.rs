//! An interrupt that is raised once before a save, and that nobody takes before it.

use super::LiveEntry;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::remapping::Session;
use pvir_guest::Target;

/// Where it is when the machine is saved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pending in the device, whose entry is masked.
    Masked,
    /// Held by the host, for an entry that is parked.
    Parked,
}

/// The entry.
pub(super) struct Held {
    kind: Kind,
    index: u16,
    vector: u8,
    target: Target,
    entry: Option<LiveEntry>,
    /// How often its vector had come before.
    before: u64,
}

impl Held {
    pub(super) fn new(kind: Kind, index: u16, vector: u8, entry: LiveEntry) -> Self {
        let target = entry.irte().target();
        Self { kind, index, vector, target, entry: Some(entry), before: 0 }
    }

    pub(super) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Masked => "pending behind a mask",
            Kind::Parked => "raised while parked",
        }
    }

    /// Raises it. None if that failed.
    pub(super) fn raise(&mut self, session: &Session, device: &mut Device) -> Option<()> {
        let entry = self.entry.as_mut()?;
        match self.kind {
            Kind::Masked => entry.mask_in_place().ok()?,
            Kind::Parked => session.retarget(entry, Target::Parked).ok()?,
        }
        self.before = interrupts::total(self.vector);
        device.raise(self.index);
        Some(())
    }

    /// Takes the entry again, and answers how often the interrupt came, without any that was raised in software. None if the
    /// entry cannot be taken.
    pub(super) fn comes(&mut self, session: &Session) -> Option<u64> {
        let again = session.reacquire(self.entry.take()?).ok()?;
        // Nothing is lost: it need not be raised.
        let mut entry = again.raise_once(|_| ());
        if self.kind == Kind::Parked {
            session.retarget(&mut entry, self.target).ok()?;
        }
        self.entry = Some(entry);
        wait_until(PATIENCE_MS, || self.came() > 0);
        Some(self.came())
    }

    /// How often it has come since it was raised.
    pub(super) fn came(&self) -> u64 {
        interrupts::total(self.vector) - self.before
    }

    pub(super) fn into_entry(self) -> Option<LiveEntry> {
        self.entry
    }
}
