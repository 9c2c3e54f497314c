//! The states of an entry over a store that watches the order.

use super::*;
use crate::fake::FakeStore;
use crate::{Entry, Irte, Masked, StoreError};

const ORIGIN: Origin = Origin::ims(DEVICE, 5);

fn irte() -> Irte {
    enabled().1.map(Request::new(ORIGIN, Target::Parked)).unwrap()
}

fn claim(store: FakeStore) -> Entry<FakeStore, Masked> {
    Entry::claim(store).unwrap()
}

#[test]
fn the_order_holds_with_a_mask() {
    let live = claim(FakeStore::new(ORIGIN)).program(irte()).unwrap().unmask();
    let (entry, irte) = live.mask().unwrap().retire();
    let _live = entry.program(irte).unwrap().unmask();
}

#[test]
fn the_order_holds_without_a_mask() {
    let live = claim(FakeStore::without_mask(ORIGIN)).program(irte()).unwrap().unmask();
    let (_entry, _irte) = live.mask().unwrap().retire();
}

#[test]
fn a_store_that_does_not_keep_the_pair_is_not_programmed() {
    let store = FakeStore::new(ORIGIN).with_stuck_address_bits(0xf_0000);
    let mut irte = irte();
    irte.pair.address |= 0x1_0000;
    let (wrote, mut read) = (irte.pair(), irte.pair());
    read.address &= !0x1_0000;
    let failed = claim(store).program(irte).unwrap_err();
    assert_eq!(failed.error, StoreError::ReadBack { entry: ORIGIN, wrote, read });
}

#[test]
fn a_mask_that_is_stuck_is_found_at_claim() {
    let store = FakeStore::new(ORIGIN).with_stuck_mask();
    assert_eq!(Entry::claim(store).unwrap_err(), StoreError::NotMasked { entry: ORIGIN });
}
