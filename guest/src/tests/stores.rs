//! The states of an entry over a store that watches the order.

use super::*;
use crate::fake::FakeStore;
use crate::{Entry, Irte, Mask, Masked, Renamed, StoreEntry, StoreError};
use pvir_abi::Pair;

const ORIGIN: Origin = Origin::ims(DEVICE, 5);

fn irte() -> Irte {
    enabled().1.map(MapRequest::new(ORIGIN, Target::Parked)).unwrap()
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

/// What is done to a store, in order.
#[derive(Debug, Default)]
struct Log(core::cell::RefCell<std::string::String>);

impl Log {
    fn take(&self) -> std::string::String {
        self.0.take()
    }
}

#[derive(Debug)]
struct Watched<'l> {
    log: &'l Log,
    store: FakeStore,
}

impl Watched<'_> {
    fn note(&self, what: char) {
        self.log.0.borrow_mut().push(what);
    }
}

impl StoreEntry for Watched<'_> {
    fn origin(&self) -> Origin {
        self.store.origin()
    }
    fn write(&mut self, pair: Pair) {
        self.note('W');
        self.store.write(pair);
    }
    fn read(&self) -> Pair {
        self.note('R');
        self.store.read()
    }
    fn set_mask(&self, mask: Mask) {
        self.note(if mask == Mask::Set { 'M' } else { 'U' });
        self.store.set_mask(mask);
    }
    fn mask(&self) -> Option<Mask> {
        self.note('?');
        self.store.mask()
    }
    fn is_pending(&self) -> Option<bool> {
        self.store.is_pending()
    }
}

/// A read of a device takes a round trip on the bus, which is what masking costs.
#[test]
fn each_step_touches_the_device_no_more_than_it_must() {
    let log = Log::default();
    let entry = Entry::claim(Watched { log: &log, store: FakeStore::new(ORIGIN) }).unwrap();
    assert_eq!(log.take(), "M?");
    let programmed = entry.program(irte()).unwrap();
    assert_eq!(log.take(), "M?WR");
    let live = programmed.unmask();
    assert_eq!(log.take(), "U");
    let (_entry, _irte) = live.mask().unwrap().retire();
    assert_eq!(log.take(), "M?");
}

/// A store whose mask bit is written by somebody else too.
#[derive(Debug)]
struct TwoWriters<'m> {
    mask: &'m core::cell::Cell<Mask>,
    pair: Pair,
}

impl StoreEntry for TwoWriters<'_> {
    fn origin(&self) -> Origin {
        ORIGIN
    }
    fn write(&mut self, pair: Pair) {
        assert_eq!(self.mask.get(), Mask::Set, "a message could have half of the old pair");
        self.pair = pair;
    }
    fn read(&self) -> Pair {
        self.pair
    }
    fn set_mask(&self, mask: Mask) {
        self.mask.set(mask);
    }
    fn mask(&self) -> Option<Mask> {
        Some(self.mask.get())
    }
    fn is_pending(&self) -> Option<bool> {
        None
    }
}

#[test]
fn a_pair_is_written_masked_also_where_the_host_has_unmasked_the_entry() {
    let mask = core::cell::Cell::new(Mask::Clear);
    let entry = Entry::claim(TwoWriters { mask: &mask, pair: Pair::default() }).unwrap();
    mask.set(Mask::Clear);
    let programmed = entry.program(irte()).unwrap();
    assert_eq!(mask.get(), Mask::Set);
    let _live = programmed.unmask();
    assert_eq!(mask.get(), Mask::Clear);
}

/// An IMS entry whose message lies in an entry of the MSI-X table: the IRTE is the former's, all else the latter's.
#[test]
fn an_entry_under_another_name_takes_the_irte_of_that_name() {
    let renamed = Renamed::new(FakeStore::new(Origin::msix(DEVICE, 9)), ORIGIN);
    assert_eq!((renamed.origin(), renamed.mask()), (ORIGIN, Some(Mask::Clear)));
    let irte = irte();
    let pair = irte.pair();
    let live = Entry::claim(renamed).unwrap().program(irte).unwrap().unmask();
    let (entry, irte) = live.mask().unwrap().retire();
    assert_eq!(irte.pair(), pair);
    let other = enabled().1.map(MapRequest::new(Origin::msix(DEVICE, 9), Target::Parked)).unwrap();
    let failed = entry.program(other).unwrap_err();
    assert!(matches!(failed.error, StoreError::OtherEntry { .. }), "{:?}", failed.error);
}

#[test]
fn what_is_renamed_is_reached_under_its_new_name() {
    let mut renamed = Renamed::new(FakeStore::new(Origin::msix(DEVICE, 9)), ORIGIN);
    let pair = Pair { address: 0xfee0_0010, data: 7 };
    renamed.set_mask(Mask::Set);
    assert_eq!(renamed.mask(), Some(Mask::Set));
    renamed.write(pair);
    assert_eq!((renamed.read(), renamed.is_pending()), (pair, None));
}
