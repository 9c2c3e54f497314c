//! Slots in memory: as a driver uses them, and what a broken or hostile device makes of them.
#![expect(unsafe_code, reason = "the tests own the memory that they give away")]

use super::*;
use crate::{ImsControl, ImsLayout, ImsMemory, Irte, StoreError};
use core::ptr::NonNull;
use pvir_abi::Pair;
use std::boxed::Box;

const WORDS: usize = 32;

/// Memory that a device reads: never freed, dirty at first.
struct Ram(NonNull<u32>);

impl Ram {
    fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::new([u32::MAX; WORDS]))).cast())
    }

    fn slots(&self, slots: u32, layout: ImsLayout) -> Option<ImsMemory> {
        assert!(slots as usize * layout.len <= WORDS);
        // SAFETY: never freed, and reached by volatile accesses alone.
        unsafe { ImsMemory::new(DEVICE, self.0, slots, layout) }
    }

    fn word(&self, at: usize) -> u32 {
        assert!(at < WORDS);
        // SAFETY: in the array.
        let word = unsafe { self.0.add(at) };
        // SAFETY: as above.
        unsafe { word.read_volatile() }
    }
}

fn irte(index: u32) -> Irte {
    enabled().1.map(MapRequest::new(Origin::ims(DEVICE, index), Target::fixed(1, 0x60))).unwrap()
}

/// Data first, no high half, the mask in bit 31 of a word that comes before the address.
const ODD: ImsLayout = ImsLayout {
    len: 5,
    address_low: 3,
    address_high: None,
    data: 0,
    control: Some(ImsControl { offset: 2, mask: 1 << 31 }),
};

#[test]
fn a_slot_goes_from_masked_to_live_and_back() {
    let ram = Ram::new();
    let memory = ram.slots(4, ImsLayout::LIKE_MSIX).unwrap();
    let irte = irte(5);
    let pair = irte.pair();
    let programmed = memory.claim(2, 5).unwrap().program(irte).unwrap();
    assert_eq!(u64::from(ram.word(9)) << 32 | u64::from(ram.word(8)), pair.address);
    assert_eq!(ram.word(10), pair.data);
    assert_eq!(ram.word(11), u32::MAX, "masked, the other bits kept");
    let live = programmed.unmask();
    assert_eq!(ram.word(11), u32::MAX - 1);
    let (entry, irte) = live.mask().unwrap().retire();
    assert_eq!(ram.word(11), u32::MAX);
    let live = entry.program(irte).unwrap().unmask();
    drop(live);
    assert_eq!(ram.word(11), u32::MAX, "masked when dropped");
    assert_eq!(
        (0..8).chain(12..WORDS).map(|at| ram.word(at)).min(),
        Some(u32::MAX),
        "nothing else was written"
    );
}

#[test]
fn the_layout_is_the_drivers() {
    let ram = Ram::new();
    let memory = ram.slots(2, ODD).unwrap();
    let live = memory.claim(1, 0).unwrap().program(irte(0)).unwrap().unmask();
    let Pair { address, data } = live.irte().pair();
    assert_eq!(
        [5, 6, 7, 8, 9].map(|at| ram.word(at)),
        [data, u32::MAX, u32::MAX >> 1, u32::try_from(address).unwrap(), u32::MAX]
    );
}

#[test]
fn slots_without_a_mask_are_the_drivers_to_keep_silent() {
    let ram = Ram::new();
    let memory = ram.slots(8, ImsLayout { control: None, ..ImsLayout::LIKE_MSIX }).unwrap();
    let live = memory.claim(7, 1).unwrap().program(irte(1)).unwrap().unmask();
    assert_eq!(ram.word(31), u32::MAX);
    let (_entry, _irte) = live.mask().unwrap().retire();
}

#[test]
fn a_slot_has_one_owner_and_the_array_an_end() {
    let ram = Ram::new();
    let memory = ram.slots(4, ImsLayout::LIKE_MSIX).unwrap();
    assert_eq!(memory.slots(), 4);
    let slot = memory.claim(3, 0).unwrap();
    assert!(memory.claim(3, 1).is_none() && memory.claim(4, 0).is_none());
    drop(slot);
    assert!(memory.claim(3, 1).is_some());
}

#[test]
fn the_irte_of_another_index_is_not_taken() {
    let ram = Ram::new();
    let memory = ram.slots(4, ImsLayout::LIKE_MSIX).unwrap();
    let failed = memory.claim(0, 1).unwrap().program(irte(2)).unwrap_err();
    let (entry, irte) = (Origin::ims(DEVICE, 1), Origin::ims(DEVICE, 2));
    assert_eq!(failed.error, StoreError::OtherEntry { entry, irte });
    assert_eq!(ram.word(0), u32::MAX);
}

#[test]
fn a_pair_above_four_gib_does_not_pass_a_slot_without_a_high_half() {
    let ram = Ram::new();
    let memory = ram.slots(1, ODD).unwrap();
    let mut irte = irte(0);
    irte.pair.address |= 1 << 32;
    let failed = memory.claim(0, 0).unwrap().program(irte).unwrap_err();
    assert!(matches!(failed.error, StoreError::ReadBack { .. }));
}

#[test]
fn an_unsound_layout_makes_no_memory() {
    let ram = Ram::new();
    let overlap = ImsLayout { data: 0, ..ImsLayout::LIKE_MSIX };
    assert!(ram.slots(1, overlap).is_none());
    assert_eq!(ram.word(3), u32::MAX);
}
