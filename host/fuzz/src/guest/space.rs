//! A platform whose only device says anything in its configuration space.
#![expect(unsafe_code, reason = "a platform promises that its pointers are good")]

use crate::input::Input;
use anyhow::{Result, ensure};
use pci_types::{ConfigRegionAccess, PciAddress};
use pvir_guest::Platform;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use x86_64::PhysAddr;

/// RAM, which a host would like to have written.
const RAM_END: u64 = 1 << 30;
/// Longest mapping: the largest table.
const LONGEST: usize = 2048 * 16;

/// The device's registers, and what of its memory is mapped.
pub(super) struct Space {
    words: RefCell<[u32; 64]>,
    /// Bits of each register that keep what is written: a device may not do what it is told.
    writable: [u32; 64],
    /// What its memory reads as, where nothing was written.
    memory: u32,
    /// Memory is mapped at exactly its length, so that one word behind it is noticed by a sanitizer.
    mapped: RefCell<Vec<Box<[Cell<u32>]>>>,
    wrong: RefCell<Vec<String>>,
}

impl Space {
    /// A device with MSI and MSI-X, of which the input changes what it likes.
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let (mut words, mut writable) = ([0; 64], [u32::MAX; 64]);
        let [msi, msix, table] = input.bytes();
        (words[0], words[1]) = (0x1234_5678, 0x0010_0006);
        let [msi, msix] = [msi, msix].map(|place| usize::from(place % 48) + 16);
        words[0x34 / 4] = u32::try_from(msi * 4).unwrap_or(0);
        words[4..10].copy_from_slice(&[0b100, 0x38, 0xd000_0000, 0, 0b1100, 0x1f]);
        words[msi] = 0x0186_0005 | u32::try_from(msix * 4).unwrap_or(0) << 8;
        words[msix] = 0x11 | u32::from(input.byte()) << 16 | u32::from(table & 7) << 24;
        words[(msix + 1) % 64] = u32::from(table >> 3) << 12 | u32::from(input.byte() % 8);
        words[(msix + 2) % 64] = 0x8000 | u32::from(input.byte() % 8);
        for _ in 0..input.byte() % 8 {
            let place = usize::from(input.byte() % 64);
            words[place] = input.number();
        }
        for _ in 0..input.byte() % 4 {
            writable[usize::from(input.byte() % 64)] = input.number();
        }
        let memory = if input.byte() % 4 == 0 { input.number() } else { 1 };
        Self {
            words: RefCell::new(words),
            writable,
            memory,
            mapped: RefCell::default(),
            wrong: RefCell::default(),
        }
    }

    /// Nothing was asked for that must not be, and nothing is mapped any more.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.wrong.borrow().is_empty(), "{:?}", self.wrong.borrow());
        ensure!(self.mapped.borrow().is_empty(), "{} mappings are left", self.mapped.borrow().len());
        Ok(())
    }
}

impl ConfigRegionAccess for Space {
    unsafe fn read(&self, _: PciAddress, offset: u16) -> u32 {
        if offset % 4 != 0 || offset > 0xfc {
            self.wrong.borrow_mut().push(format!("{offset:#x} is read"));
        }
        self.words.borrow()[usize::from(offset / 4) % 64]
    }

    unsafe fn write(&self, _: PciAddress, offset: u16, value: u32) {
        if offset % 4 != 0 || offset > 0xfc {
            self.wrong.borrow_mut().push(format!("{offset:#x} is written"));
        }
        let place = usize::from(offset / 4) % 64;
        let mask = self.writable[place];
        let word = &mut self.words.borrow_mut()[place];
        *word = *word & !mask | value & mask;
    }
}

// SAFETY: a mapping is an allocation of its own, of the length that was asked for, which stays where it is until it is
// unmapped; RAM is refused.
unsafe impl Platform for Space {
    type Config = Self;

    fn config(&self) -> &Self {
        self
    }

    fn is_ram(&self, address: PhysAddr, _: usize) -> bool {
        address.as_u64() < RAM_END
    }

    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>> {
        if self.is_ram(address, len)
            || address.as_u64() % 4 != 0
            || len % 4 != 0
            || !(1..=LONGEST).contains(&len)
        {
            self.wrong.borrow_mut().push(format!("{len} bytes at {address:?} are to be mapped"));
            return None;
        }
        let words: Box<[Cell<u32>]> = vec![Cell::new(self.memory); len / 4].into();
        let pointer = NonNull::from(&*words).cast();
        self.mapped.borrow_mut().push(words);
        Some(pointer)
    }

    unsafe fn unmap_mmio(&self, pointer: NonNull<u32>, len: usize) {
        let mut mapped = self.mapped.borrow_mut();
        let place = mapped
            .iter()
            .position(|words| NonNull::from(&**words).cast() == pointer && words.len() * 4 == len);
        match place {
            Some(place) => _ = mapped.swap_remove(place),
            None => {
                self.wrong.borrow_mut().push(format!("{len} bytes are to be unmapped that were not mapped"));
            }
        }
    }
}
