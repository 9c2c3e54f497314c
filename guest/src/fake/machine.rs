//! A platform with one PCI device: configuration space with MSI and MSI-X, and a 64-bit BAR with the MSI-X table.
#![expect(unsafe_code, reason = "a platform promises that its pointers are good")]

use super::std::boxed::Box;
use super::std::cell::UnsafeCell;
use super::std::sync::{Mutex, MutexGuard, PoisonError};
use super::std::vec;
use crate::{Mask, Platform};
use core::fmt;
use core::ptr::NonNull;
use pci_types::{ConfigRegionAccess, PciAddress};
use pvir_abi::{DeviceId, Pair};
use x86_64::PhysAddr;

/// Guest physical address of the BAR: above 4 GiB.
const BAR: u64 = (BAR_HIGH as u64) << 32;
const BAR_HIGH: u32 = 0x38;
/// End of the machine's RAM, which begins at 0.
const RAM_END: u64 = 1 << 30;
/// Length of the BAR.
const BAR_LEN: usize = 0x1_0000;
/// Offset of the table in the BAR.
const TABLE: u32 = 0x2000;
/// Offset of the pending bits in the BAR.
const PENDING: u32 = 0xc000;
/// Offset of the MSI capability.
const MSI: u16 = 0x50;
/// Offset of the MSI-X capability.
const MSIX: u16 = 0x70;

/// The word of the BAR at byte `offset`.
const fn word_of(offset: u32) -> usize {
    offset as usize / 4
}

/// Configuration space with rules: read-only bits keep their value, and writes that a driver must not do panic.
pub struct FakeConfig {
    address: PciAddress,
    dwords: Mutex<[u32; 64]>,
}

/// A platform with one PCI device. Its MSI-X table comes up unmasked, with ones in every other bit.
pub struct FakeMachine {
    config: FakeConfig,
    bar: Box<[UnsafeCell<u32>]>,
    mapped: Mutex<i32>,
}

// SAFETY: the BAR is reached by volatile accesses of words.
unsafe impl Sync for FakeMachine {}

impl FakeMachine {
    /// A platform with `device`, whose MSI-X table has `entries` entries, 1 to 2048.
    #[must_use]
    pub fn new(device: DeviceId, entries: u32) -> Self {
        let bdf = device.bdf;
        let mut dwords = [0; 64];
        dwords[0] = 0x1234_5678;
        // Status: has a capability list. Command: memory decoding and bus master on.
        dwords[1] = 0x0010_0006;
        dwords[4] = 0b100;
        dwords[5] = BAR_HIGH;
        dwords[0x34 / 4] = u32::from(MSI);
        // MSI: 64-bit, masks, 8 messages.
        dwords[usize::from(MSI) / 4] = 0x05 | u32::from(MSIX) << 8 | (1 << 8 | 1 << 7 | 3 << 1) << 16;
        dwords[usize::from(MSIX) / 4] = 0x11 | (entries - 1) << 16;
        dwords[usize::from(MSIX) / 4 + 1] = TABLE;
        dwords[usize::from(MSIX) / 4 + 2] = PENDING;
        let address = PciAddress::new(device.segment, bdf.bus(), bdf.device(), bdf.function());
        let bar = vec![!1; BAR_LEN / 4].into_iter().map(UnsafeCell::new).collect();
        let machine =
            Self { config: FakeConfig { address, dwords: Mutex::new(dwords) }, bar, mapped: Mutex::new(0) };
        (0..64).for_each(|word| machine.write(word_of(PENDING) + word, 0));
        machine
    }

    fn read(&self, word: usize) -> u32 {
        // SAFETY: in bounds by the index; nobody makes references to the cells.
        unsafe { self.bar[word].get().read_volatile() }
    }

    fn write(&self, word: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.bar[word].get().write_volatile(value) }
    }

    /// The pair in entry `index` of the MSI-X table.
    #[must_use]
    pub fn pair(&self, index: usize) -> Pair {
        let word = word_of(TABLE) + index * 4;
        let address = u64::from(self.read(word + 1)) << 32 | u64::from(self.read(word));
        Pair { address, data: self.read(word + 2) }
    }

    /// Whether entry `index` of the MSI-X table is masked.
    #[must_use]
    pub fn is_masked(&self, index: usize) -> bool {
        self.read(word_of(TABLE) + index * 4 + 3) & 1 != 0
    }

    /// Sets the pending bit of MSI-X entry `index`.
    pub fn set_pending(&self, index: usize) {
        let word = word_of(PENDING) + index / 32;
        self.write(word, self.read(word) | 1 << (index % 32));
    }

    /// Clears the pending bit of MSI-X entry `index`. Returns whether it was set.
    pub fn take_pending(&self, index: usize) -> bool {
        let (word, bit) = (word_of(PENDING) + index / 32, 1 << (index % 32));
        let was = self.read(word);
        self.write(word, was & !bit);
        was & bit != 0
    }

    /// Writes entry `index` of the MSI-X table from the other side, as the host does in MAP and UNMAP.
    pub fn write_entry(&self, index: usize, pair: Pair, mask: Mask) {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = pair.address.to_le_bytes();
        let word = word_of(TABLE) + index * 4;
        self.write(word, u32::from_le_bytes([a0, a1, a2, a3]));
        self.write(word + 1, u32::from_le_bytes([a4, a5, a6, a7]));
        self.write(word + 2, pair.data);
        self.write(word + 3, u32::from(mask == Mask::Set));
    }

    /// The message that MSI-X entry `index` sends when it is raised. `None` while MSI-X is disabled or the entry is
    /// masked.
    #[must_use]
    pub fn msix_message(&self, index: usize) -> Option<Pair> {
        (self.msix_enabled() && !self.is_masked(index)).then(|| self.pair(index))
    }

    /// The message that is sent when message `number` of MSI is raised. `None` while MSI is disabled, fewer messages
    /// are enabled, or this one is masked.
    #[must_use]
    pub fn msi_message(&self, number: u32) -> Option<Pair> {
        let (enabled, pair) = self.msi();
        let dwords = self.config.dwords();
        let at = usize::from(MSI) / 4;
        let messages = 1 << (dwords[at] >> 20 & 0b111);
        let sends = enabled && number < messages && dwords[at + 4] >> number & 1 == 0;
        sends.then_some(Pair { data: pair.data | number, ..pair })
    }

    /// Whether MSI-X Enable is set and Function Mask is clear.
    #[must_use]
    pub fn msix_enabled(&self) -> bool {
        self.config.dwords()[usize::from(MSIX) / 4] >> 30 == 0b10
    }

    /// Whether MSI is enabled, and the pair in the MSI capability.
    #[must_use]
    pub fn msi(&self) -> (bool, Pair) {
        let dwords = self.config.dwords();
        let at = usize::from(MSI) / 4;
        let address = u64::from(dwords[at + 2]) << 32 | u64::from(dwords[at + 1]);
        (dwords[at] >> 16 & 1 != 0, Pair { address, data: dwords[at + 3] })
    }

    /// Sets the 32 bits of configuration space at byte `offset`, whatever the rules are.
    pub fn set_config(&self, offset: u16, value: u32) {
        self.config.dwords()[usize::from(offset) / 4] = value;
    }

    /// Number of mappings that [`Platform::map_mmio`] made and that were not taken back.
    #[must_use]
    pub fn mappings(&self) -> i32 {
        *self.mapped.lock().unwrap()
    }
}

impl FakeConfig {
    fn dwords(&self) -> MutexGuard<'_, [u32; 64]> {
        self.dwords.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigRegionAccess for FakeConfig {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        if address == self.address { self.dwords()[usize::from(offset) / 4] } else { u32::MAX }
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        assert_eq!(address, self.address, "write to a device that is not there");
        let mut dwords = self.dwords();
        let msi_enabled = dwords[usize::from(MSI) / 4] & 1 << 16 != 0;
        let now = &mut dwords[usize::from(offset) / 4];
        let writable = match offset {
            4 => 0x0000_ffff,
            MSIX => 0xc000_0000,
            MSI => 0x0071_0000,
            _ if (MSI + 4..=MSI + 12).contains(&offset) => {
                assert!(!msi_enabled, "statement W2: MSI address or data written while enabled");
                u32::MAX
            }
            _ if offset == MSI + 16 => 0xff,
            _ => panic!("the driver has no business at offset {offset:#x} of configuration space"),
        };
        *now = *now & !writable | value & writable;
    }
}

// SAFETY: configuration space is an array behind a mutex; mappings are parts of the BAR, which lives as long as the
// machine and is never borrowed.
unsafe impl Platform for FakeMachine {
    type Config = FakeConfig;

    fn config(&self) -> &FakeConfig {
        &self.config
    }

    fn is_ram(&self, address: PhysAddr, len: usize) -> bool {
        address.as_u64() < RAM_END && len > 0
    }

    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>> {
        let start = usize::try_from(address.as_u64().checked_sub(BAR)?).ok()?;
        let end = start.checked_add(len).filter(|end| *end <= BAR_LEN)?;
        *self.mapped.lock().unwrap() += 1;
        // The whole range is there, so that the first word's pointer may be used for all of it.
        let words = &raw const self.bar[start / 4..end / 4];
        NonNull::new(words.cast::<u32>().cast_mut())
    }

    unsafe fn unmap_mmio(&self, _pointer: NonNull<u32>, _len: usize) {
        *self.mapped.lock().unwrap() -= 1;
    }
}

impl fmt::Debug for FakeMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeMachine").field("address", &self.config.address).finish_non_exhaustive()
    }
}
