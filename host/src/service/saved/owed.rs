//! Interrupts that the host holds for entries which the guest has yet to map: after a restore (docs/abi.md, S4), and
//! after ATTACH (A5).

use super::state::HeldMessage;
use crate::device::Origin;
use crate::line::Lines;
use pvir_abi::{DeviceId, Store};
use std::collections::BTreeMap;

/// The messages with an interrupt that is held, as bits, by the entry that they belong to. A message has at most one, and
/// the entries are those of the VM's devices, so its size is bounded by them.
#[derive(Debug, Default)]
pub(in crate::service) struct Owed(BTreeMap<Origin, u32>);

/// A message of a store: of MSI-X the index of its entry, of MSI its number.
pub(in crate::service) type StoreMessage = (Store, u32);

impl Owed {
    /// Whether an interrupt is held for the entry.
    #[inline]
    pub(in crate::service) fn is_owed(&self, origin: &Origin) -> bool {
        !self.0.is_empty() && self.0.contains_key(origin)
    }

    /// Puts what is held for the entry into its lines, which deliver it when they are attached. Messages that the entry
    /// has no more are delivered as its first one.
    pub(in crate::service) fn fill(&self, origin: &Origin, lines: &mut Lines) {
        let Some(messages) = self.0.get(origin) else { return };
        let beyond = messages.checked_shr(lines.count()).unwrap_or(0) != 0;
        for (number, line) in (0..).zip(lines.iter_mut()) {
            if messages >> number & 1 != 0 || (number == 0 && beyond) {
                line.hold();
            }
        }
    }

    /// Forgets what was held for the entry: it was delivered.
    #[inline]
    pub(in crate::service) fn settle(&mut self, origin: &Origin) {
        if !self.0.is_empty() {
            self.0.remove(origin);
        }
    }

    /// Forgets what was held for a device that was reset, or that has nothing more to send.
    pub(in crate::service) fn forget_device(&mut self, id: DeviceId) {
        self.0.retain(|origin, _| origin.device != id);
    }

    /// Forgets everything, at the end of the session.
    pub(in crate::service) fn forget(&mut self) {
        self.0.clear();
    }

    /// Holds an interrupt for each of these messages.
    pub(in crate::service) fn hold(&mut self, device: DeviceId, messages: &[StoreMessage]) {
        for &(store, message) in messages {
            let (index, number) = if store == Store::MSI { (0, message) } else { (message, 0) };
            self.add(Origin { device, store, index }, u8::try_from(number).unwrap_or(u8::MAX));
        }
    }

    /// Takes out what is held for a device.
    pub(in crate::service) fn take(&mut self, id: DeviceId) -> Vec<StoreMessage> {
        let held = self.of_device(id);
        let taken = held.map(|held| (Store(held.store), held.index + u32::from(held.message))).collect();
        self.forget_device(id);
        taken
    }

    pub(super) fn add(&mut self, origin: Origin, message: u8) {
        *self.0.entry(origin).or_default() |= 1_u32.checked_shl(message.into()).unwrap_or(0);
    }

    pub(super) fn of_device(&self, id: DeviceId) -> impl Iterator<Item = HeldMessage> {
        let of_entry =
            |(origin, messages): (&Origin, &u32)| {
                let (store, index, messages) = (origin.store.0, origin.index, *messages);
                (0..32_u8)
                    .filter(move |message| messages >> message & 1 != 0)
                    .map(move |message| HeldMessage { store, index, message })
            };
        self.0.iter().filter(move |(origin, _)| origin.device == id).flat_map(of_entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Line;
    use pvir_abi::Bdf;

    #[test]
    fn what_is_held_goes_into_the_lines_of_its_entry() {
        let id = DeviceId::new(0, Bdf(8));
        let mut owed = Owed::default();
        owed.hold(id, &[(Store::MSI, 1), (Store::MSI, 6), (Store::MSIX, 6)]);
        let msi = Origin { device: id, store: Store::MSI, index: 0 };
        let filled = |count: usize| {
            let mut lines = Lines::Several((0..count).map(|_| Line::new().unwrap()).collect());
            owed.fill(&msi, &mut lines);
            lines.iter().map(Line::holds_interrupt).collect::<Vec<_>>()
        };
        // Message 6 is beyond two messages, and comes as the first.
        assert_eq!(filled(2), [true, true]);
        assert_eq!(filled(8), [false, true, false, false, false, false, true, false]);
        let other = DeviceId::new(0, Bdf(16));
        assert!(owed.take(other).is_empty());
        owed.settle(&Origin { store: Store::MSIX, index: 6, ..msi });
        assert_eq!(owed.take(id), [(Store::MSI, 1), (Store::MSI, 6)]);
        assert!(!owed.is_owed(&msi));
    }
}
