//! IMS: an array of messages in the guest's RAM, which the device reads at the moment that it sends.
//!
//! An entry is four 32-bit words, as one of MSI-X: address low, address high, data, control (bit 0: mask). A device
//! cannot see a write to RAM, so after it has unmasked an entry the guest rings a doorbell.

use pvir_abi::{GuestPhysAddr, Pair};
use pvir_host::emulation::TableEntry;
use pvir_host::memory::GuestRam;
use std::collections::BTreeSet;
use std::sync::atomic::{Ordering, fence};

/// Bytes of an entry, and the alignment of the array.
pub(crate) const ENTRY: u64 = 16;
const CONTROL: u64 = 12;
const MASK: u32 = 1;

/// The IMS array of a device: where it is, and which entries hold an interrupt.
#[derive(Debug, Default)]
pub(crate) struct ImsArray {
    base: u64,
    pending: BTreeSet<u32>,
}

impl ImsArray {
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn set_base(&mut self, base: u64) {
        self.base = base;
    }

    /// Copies an entry in, the mask bit first. Nothing where there is no array, or no RAM.
    pub(crate) fn entry(&self, ram: &dyn GuestRam, index: u32) -> Option<TableEntry> {
        if self.base == 0 || self.base % ENTRY != 0 {
            return None;
        }
        let at = self.base.checked_add(u64::from(index) * ENTRY)?;
        let mut control = [0; 4];
        ram.read(GuestPhysAddr(at.checked_add(CONTROL)?), &mut control).ok()?;
        // Pairs with the guest's write: what it wrote before it unmasked is seen after this.
        fence(Ordering::SeqCst);
        let mut words = [0; 12];
        ram.read(GuestPhysAddr(at), &mut words).ok()?;
        let word = |at: usize| {
            words[at..].iter().take(4).rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        };
        let address = u64::from(word(4)) << 32 | u64::from(word(0));
        let masked = u32::from_le_bytes(control) & MASK != 0;
        Some(TableEntry { message: Pair { address, data: word(8) }, masked })
    }

    /// The entries that are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = u32> {
        self.pending.iter().copied()
    }

    pub(crate) fn hold(&mut self, index: u32) {
        self.pending.insert(index);
    }

    /// Takes an entry out of those that are held; answers whether it was.
    pub(crate) fn take(&mut self, index: u32) -> bool {
        self.pending.remove(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    #[test]
    fn entries_are_read_from_ram_and_nowhere_else() {
        let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap();
        let mut ims = ImsArray::default();
        assert_eq!(ims.entry(&ram, 0), None, "no array yet");
        ims.set_base(0x1000);
        let words: Vec<u8> =
            [0xfee0_0010_u32, 7, 0x41, 0xffff_fffe].iter().flat_map(|w| w.to_le_bytes()).collect();
        GuestRam::write(&ram, GuestPhysAddr(0x1010), &words).unwrap();
        let message = Pair { address: 7 << 32 | 0xfee0_0010, data: 0x41 };
        assert_eq!(ims.entry(&ram, 1), Some(TableEntry { message, masked: false }));
        GuestRam::write(&ram, GuestPhysAddr(0x101c), &[1]).unwrap();
        assert!(ims.entry(&ram, 1).unwrap().masked);
        assert!(ims.entry(&ram, 255).is_some());
        assert_eq!(ims.entry(&ram, 256), None, "behind RAM");
        for base in [0x1008, 0x1ff8, 0xfee0_0000, u64::MAX - 15, u64::MAX - 31] {
            ims.set_base(base);
            assert_eq!(ims.entry(&ram, 1), None, "{base:#x}");
        }
    }
}
