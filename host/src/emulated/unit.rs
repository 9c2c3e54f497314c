//! The remapping unit of one emulated device: what a message must say to be let through.
//!
//! Pairs are in Intel's remappable format with SHV clear (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2). The
//! handle is the number of the entry that the IRTE was made for; where hardware has the data zero it holds the IRTE's
//! generation, so that a pair that was given back is blocked even after its IRTE lives again. The unit belongs to one
//! device and the devices of a VM have handles of their own ([`HandlePool`]): the handle of another device's IRTE names
//! nothing here, as source-id checking has it.

use super::MAX_VECTORS;
use pvir_abi::Pair;
use std::io;
use std::ops::Range;
use vmm_sys_util::eventfd::EventFd;

/// Why a message was blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not in remappable format.
    Format,
    /// No IRTE has this handle.
    NotPresent,
    /// The pair of an IRTE that was given back.
    Stale,
}

/// The handles of a VM's emulated devices: 65,536, as a remapping table has entries.
#[derive(Debug, Default)]
pub struct HandlePool {
    next: u32,
}

impl HandlePool {
    const END: u32 = 1 << 16;

    /// Handles for a device with `vectors` MSI-X entries.
    ///
    /// # Errors
    /// `InvalidInput` unless there are 1 to [`MAX_VECTORS`]; `ENOSPC` when the VM has used them all.
    pub fn take(&mut self, vectors: u32) -> io::Result<Range<u32>> {
        if !(1..=MAX_VECTORS).contains(&vectors) {
            let what = format!("an emulated device has 1 to {MAX_VECTORS} vectors, not {vectors}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let end = self.next + vectors;
        if end > Self::END {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(std::mem::replace(&mut self.next, end)..end)
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    eventfd: Option<EventFd>,
}

/// All virtual IRTEs of a device.
#[derive(Debug)]
pub(super) struct Unit {
    first: u32,
    slots: Vec<Slot>,
}

impl Unit {
    /// None present yet, one for each of `handles`.
    pub(super) fn new(handles: Range<u32>) -> Self {
        Self { first: handles.start, slots: handles.map(|_| Slot::default()).collect() }
    }

    /// Makes the IRTE of an entry present: its messages signal `eventfd`.
    pub(super) fn set(&mut self, index: u32, eventfd: EventFd) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.eventfd = Some(eventfd);
        }
    }

    /// Clears the IRTE of an entry.
    pub(super) fn clear(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.eventfd = None;
        }
    }

    /// The pair of an entry's IRTE, while it is present.
    pub(super) fn pair(&self, index: u32) -> Option<Pair> {
        let slot = self.slots.get(index as usize).filter(|slot| slot.eventfd.is_some())?;
        let handle = u64::from(self.first + index);
        let address = 0xfee0_0010 | (handle & 0x7fff) << 5 | (handle >> 15 & 1) << 2;
        Some(Pair { address, data: u32::from(slot.generation) })
    }

    /// What an entry's IRTE signals, while it is present.
    pub(super) fn eventfd(&self, index: u32) -> Option<&EventFd> {
        self.slots.get(index as usize)?.eventfd.as_ref()
    }

    /// Translates a message.
    pub(super) fn remap(&self, message: Pair) -> Result<&EventFd, Fault> {
        // SHV would add the data's low half to the handle; no pair of ours has it.
        let handle = message.intel_index().filter(|_| message.address & 8 == 0).ok_or(Fault::Format)?;
        let index = handle.checked_sub(self.first).ok_or(Fault::NotPresent)?;
        let slot = self.slots.get(index as usize).ok_or(Fault::NotPresent)?;
        let eventfd = slot.eventfd.as_ref().ok_or(Fault::NotPresent)?;
        if message.data == u32::from(slot.generation) { Ok(eventfd) } else { Err(Fault::Stale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        let mut unit = Unit::new(0..4);
        unit.set(2, EventFd::new(0).unwrap());
        unit
    }

    #[test]
    fn the_pair_of_a_present_irte_is_remapped() {
        let unit = unit();
        let pair = unit.pair(2).unwrap();
        assert_eq!(pair, Pair { address: 0xfee0_0050, data: 1 });
        assert!(unit.remap(pair).is_ok());
    }

    #[test]
    fn anything_else_is_blocked() {
        let unit = unit();
        let fault = |address, data| unit.remap(Pair { address, data }).map(|_| ()).unwrap_err();
        assert_eq!(fault(0xfee0_0000, 0x40), Fault::Format);
        assert_eq!(fault(0xfee0_0058, 1), Fault::Format);
        assert_eq!(fault(0, 0), Fault::Format);
        assert_eq!(fault(0xfee0_0030, 1), Fault::NotPresent);
        assert_eq!(fault(0xfeef_fff4, 1), Fault::NotPresent);
        assert_eq!(fault(0xfee0_0050, 0), Fault::Stale);
    }

    #[test]
    fn devices_of_a_vm_do_not_share_handles() {
        let mut pool = HandlePool::default();
        let (first, second) = (pool.take(2048).unwrap(), pool.take(4).unwrap());
        assert_eq!((first, second.clone()), (0..2048, 2048..2052));
        let mut other = Unit::new(second);
        other.set(2, EventFd::new(0).unwrap());
        let pair = other.pair(2).unwrap();
        assert_eq!(pair.intel_index(), Some(2050));
        assert!(other.remap(pair).is_ok());
        assert_eq!(unit().remap(pair).unwrap_err(), Fault::NotPresent);
        assert_eq!(other.remap(unit().pair(2).unwrap()).unwrap_err(), Fault::NotPresent);
    }

    #[test]
    fn handles_end_and_devices_have_limits() {
        let mut pool = HandlePool::default();
        assert_eq!(pool.take(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(pool.take(2049).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let last = (0..32).map(|_| pool.take(2048).unwrap()).last();
        assert_eq!(last, Some(63488..65536));
        assert_eq!(pool.take(1).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        let mut unit = Unit::new(65535..65536);
        unit.set(0, EventFd::new(0).unwrap());
        assert_eq!(unit.pair(0).unwrap().intel_index(), Some(65535));
    }

    #[test]
    fn a_pair_that_was_given_back_stays_dead() {
        let mut unit = unit();
        let old = unit.pair(2).unwrap();
        unit.clear(2);
        assert_eq!(unit.pair(2), None);
        assert_eq!(unit.remap(old).unwrap_err(), Fault::NotPresent);
        unit.set(2, EventFd::new(0).unwrap());
        assert_eq!(unit.remap(old).unwrap_err(), Fault::Stale);
        assert!(unit.remap(unit.pair(2).unwrap()).is_ok());
    }
}
