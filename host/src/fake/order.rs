//! The safe order, as rules over the state of the platform between calls.

use super::platform::Footprint;
use super::{Entry, FakePlatform};

impl FakePlatform {
    /// Every breach of the rules that must hold while no call is under way, and every breach that was recorded during
    /// calls: one line each. Empty if there is none.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut found = self.violations().to_vec();
        let now = self.footprint();
        self.check_kernel(&now, &mut found);
        self.check_devices(&mut found);
        found
    }

    fn check_kernel(&self, now: &Footprint, found: &mut Vec<String>) {
        for gsi in now.irqfds.iter().filter(|gsi| !now.routes.contains_key(gsi)) {
            found.push(format!("GSI {gsi} has an irqfd and no route"));
        }
    }

    fn check_devices(&self, found: &mut Vec<String>) {
        for (entry, started) in &self.started {
            if !started.masked && !started.by_guest && !self.unsure.contains(entry) {
                found.push(format!("{entry:?} was left unmasked"));
            }
            if !self.open.contains(&entry.device) && !self.trapped.contains_key(&entry.device) {
                found.push(format!("{entry:?} is started and its device is closed"));
            }
        }
    }

    /// Whether an eventfd belongs to a started entry that nothing made unsure.
    pub(super) fn is_started(&self, id: u64) -> bool {
        self.started.iter().any(|(entry, started)| started.signals.id == id && !self.unsure.contains(entry))
    }

    /// Whether an eventfd belongs to an entry that is started, or may be.
    pub(super) fn may_be_signalled(&self, id: u64) -> bool {
        self.started.values().any(|started| started.signals.id == id)
    }

    /// What must hold when an entry is started.
    pub(super) fn check_start(&mut self, entry: Entry, backing: Entry, id: u64) {
        if self.started.contains_key(&entry) && !self.unsure.contains(&entry) {
            self.breach(format!("{entry:?} is started already"));
        }
        let mut others = self.started.iter().filter(|(other, _)| **other != entry);
        if let Some((other, _)) = others.find(|(_, other)| other.backing == backing) {
            let other = *other;
            self.breach(format!("{entry:?} is started with the interrupt of {other:?}"));
        }
        if self.started.iter().any(|(other, started)| *other != entry && started.signals.id == id) {
            self.breach(format!("{entry:?} is started with another entry's eventfd"));
        }
        let without_route = |gsi| self.armed.contains(gsi) || self.idle.contains(gsi);
        if self.irqfds.iter().any(|(gsi, irqfd)| irqfd.id == id && without_route(gsi)) {
            self.breach(format!("{entry:?} is started with an irqfd that has no route"));
        }
        // What KVM has queued for the one would come out by the route of the other (U1).
        match self.used_by.insert(id, entry) {
            Some(other) if other != entry && self.irqfds.values().any(|irqfd| irqfd.id == id) => {
                self.breach(format!("{entry:?} is started with an irqfd that {other:?} has used"));
            }
            _ => {}
        }
    }
}
