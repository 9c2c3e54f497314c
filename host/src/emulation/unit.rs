//! A software remapping unit for one emulated device: it decides which messages of the device raise an interrupt.
//!
//! Address/data pairs are in Intel's remappable format (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2).
//!
//! *MSI-X and IMS*: SHV is clear, and the handle is the number of the IRTE. Hardware expects data of zero; here the
//! data is the generation of the IRTE. A pair that was given back is therefore blocked even when its IRTE is present
//! again.
//!
//! *MSI*: the device writes the number of the message into the low bits of the data, so these must be free. SHV is
//! set, as Linux sets it: the low half of the data, the subhandle, is added to the handle. There is no room for a
//! generation. A newly allocated handle takes its place: a device has a window of 1,024 handles for its MSI, of which
//! each allocation takes the next 32. A pair that was given back names IRTEs that are not present, until the window
//! has been used up and begins anew. The part of the pair that changes is the data, a multiple of 32 as the contract
//! requires (statement M10).
//!
//! A unit belongs to one device, and each device of a VM has handles of its own ([`HandlePool`](super::HandlePool)).
//! The handle of another device's IRTE names nothing here, which has the effect of source-id checking.

use super::layout::{MAX_MESSAGES, MessageStore, StoreLayout};
use crate::eventfd::EventFd;
use pvir_abi::{Pair, Store};
use serde::{Deserialize, Serialize};

/// Allocations of MSI until a handle is used again.
const BLOCKS: u32 = 32;
/// Handles that a device takes for its MSI.
pub(super) const WINDOW: u32 = BLOCKS * MAX_MESSAGES;

/// Subhandle valid, in a message's address.
const SHV: u64 = 1 << 3;

/// Why the remapping unit blocks a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RemappingFault {
    /// The message is not in remappable format, or not in the format of its IRTE's store.
    Format,
    /// No IRTE with the message's handle is present.
    NotPresent,
    /// The message has the pair of an IRTE that was given back.
    Stale,
}

/// An IRTE of MSI-X or IMS.
#[derive(Debug, Default)]
struct SoftwareIrte {
    generation: u16,
    eventfd: Option<EventFd>,
}

/// What a [`SoftwareUnit`] has given, as numbers for a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedUnit {
    /// Of each IRTE of MSI-X and IMS.
    generations: Vec<u16>,
    block: u32,
}

/// The virtual IRTEs of one device: those of MSI-X and IMS, then the window of MSI.
#[derive(Debug)]
pub struct SoftwareUnit {
    layout: StoreLayout,
    /// Handle of the first IRTE.
    first: u32,
    irtes: Vec<SoftwareIrte>,
    /// The allocation of MSI that lives, or lived last.
    block: u32,
    messages: Vec<Option<EventFd>>,
}

impl SoftwareUnit {
    /// The unit of a device whose stores are `layout` and whose handles begin with `first_handle`, as a
    /// [`HandlePool`](super::HandlePool) gave them. No IRTE is present yet.
    #[must_use]
    pub fn new(layout: StoreLayout, first_handle: u32) -> Self {
        let (irtes, messages) = match layout.store() {
            MessageStore::Msix => (layout.interrupts(), 0),
            MessageStore::Msi(_) => (layout.ims(), layout.vectors()),
        };
        let irtes = (0..irtes).map(|_| SoftwareIrte::default()).collect();
        Self {
            layout,
            first: first_handle,
            irtes,
            block: BLOCKS - 1,
            messages: (0..messages).map(|_| None).collect(),
        }
    }

    fn position(&self, store: Store, index: u32) -> Option<usize> {
        let number = self.layout.number(store, index)?;
        usize::try_from(number).ok()?.checked_sub(self.messages.len())
    }

    /// Makes the IRTEs of consecutive entries from `first` on present, one for each of `eventfds`, which their
    /// messages signal.
    pub fn set(&mut self, store: Store, first: u32, eventfds: Vec<EventFd>) {
        if store == Store::MSI {
            self.block = (self.block + 1) % BLOCKS;
        }
        for (index, eventfd) in (first..).zip(eventfds) {
            if store == Store::MSI {
                if let Some(message) = self.messages.get_mut(index as usize) {
                    *message = Some(eventfd);
                }
            } else if let Some(irte) = self.position(store, index).and_then(|at| self.irtes.get_mut(at)) {
                irte.generation = irte.generation.wrapping_add(1);
                irte.eventfd = Some(eventfd);
            }
        }
    }

    /// What decides which pairs are given next, for a snapshot. A unit that does not go on with it could give a pair again
    /// that a guest still has from before.
    #[must_use]
    pub fn save(&self) -> SavedUnit {
        SavedUnit { generations: self.irtes.iter().map(|irte| irte.generation).collect(), block: self.block }
    }

    /// Goes on where a unit of the same layout was saved. No IRTE is present. Answers `false`, and changes nothing, if the
    /// state is that of another layout.
    #[must_use]
    pub fn restore(&mut self, saved: &SavedUnit) -> bool {
        let fits = saved.generations.len() == self.irtes.len() && saved.block < BLOCKS;
        if fits {
            let irte = |generation: &u16| SoftwareIrte { generation: *generation, eventfd: None };
            self.irtes = saved.generations.iter().map(irte).collect();
            self.messages.iter_mut().for_each(|message| *message = None);
            self.block = saved.block;
        }
        fits
    }

    /// Clears the IRTE of an entry. From then on its pair is blocked.
    pub fn clear(&mut self, store: Store, index: u32) {
        if store == Store::MSI {
            if let Some(message) = self.messages.get_mut(index as usize) {
                *message = None;
            }
        } else if let Some(irte) = self.position(store, index).and_then(|at| self.irtes.get_mut(at)) {
            irte.eventfd = None;
        }
    }

    /// The eventfd that an entry's IRTE signals, while it is present.
    #[must_use]
    pub fn eventfd(&self, store: Store, index: u32) -> Option<&EventFd> {
        if store == Store::MSI {
            self.messages.get(index as usize)?.as_ref()
        } else {
            self.irtes.get(self.position(store, index)?)?.eventfd.as_ref()
        }
    }

    /// The pair of an entry's IRTE, while it is present; for MSI that of message 0.
    #[must_use]
    pub fn pair(&self, store: Store, index: u32) -> Option<Pair> {
        self.eventfd(store, index)?;
        let address = |handle: u32| {
            let handle = u64::from(handle);
            0xfee0_0010 | (handle & 0x7fff) << 5 | (handle >> 15 & 1) << 2
        };
        if store == Store::MSI {
            return Some(Pair { address: address(self.window()) | SHV, data: self.block * MAX_MESSAGES });
        }
        let at = self.position(store, index)?;
        let data = self.irtes.get(at)?.generation.into();
        Some(Pair { address: address(self.first + u32::try_from(at).ok()?), data })
    }

    /// The first handle of MSI.
    fn window(&self) -> u32 {
        self.first + u32::try_from(self.irtes.len()).unwrap_or(u32::MAX)
    }

    /// Translates a message into the eventfd that it signals.
    ///
    /// # Errors
    /// The fault for which the message is blocked.
    pub fn remap(&self, message: Pair) -> Result<&EventFd, RemappingFault> {
        let handle = message.intel_index().ok_or(RemappingFault::Format)?;
        let shv = message.address & SHV != 0;
        if handle >= self.window() {
            let place = handle - self.window();
            if self.messages.is_empty() || place >= WINDOW {
                return Err(RemappingFault::NotPresent);
            }
            if !shv {
                return Err(RemappingFault::Format);
            }
            let message = place.checked_sub(self.block * MAX_MESSAGES).ok_or(RemappingFault::NotPresent)?;
            return self
                .messages
                .get(message as usize)
                .and_then(Option::as_ref)
                .ok_or(RemappingFault::NotPresent);
        }
        let at = handle.checked_sub(self.first).ok_or(RemappingFault::NotPresent)?;
        let irte = self.irtes.get(at as usize).ok_or(RemappingFault::NotPresent)?;
        if shv {
            return Err(RemappingFault::Format);
        }
        let eventfd = irte.eventfd.as_ref().ok_or(RemappingFault::NotPresent)?;
        if message.data == u32::from(irte.generation) { Ok(eventfd) } else { Err(RemappingFault::Stale) }
    }
}

#[cfg(test)]
mod tests;
