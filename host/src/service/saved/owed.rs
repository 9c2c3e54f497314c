//! Interrupts that the host holds for entries which the guest has yet to map again.

use super::state::HeldMessage;
use crate::device::Origin;
use crate::line::Lines;
use pvir_abi::DeviceId;
use std::collections::BTreeMap;

/// The messages with an interrupt that is held, as bits, by the entry that they belong to. A message has at most one, and
/// the entries are those of the VM's devices, so its size is bounded by them.
#[derive(Debug, Default)]
pub(in crate::service) struct Owed(BTreeMap<Origin, u32>);

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
