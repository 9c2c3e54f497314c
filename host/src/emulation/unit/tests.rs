use super::super::layout::MsiForm;
use super::*;

const X: Store = Store::MSIX;

fn eventfds(count: usize) -> Vec<EventFd> {
    (0..count).map(|_| EventFd::new().unwrap()).collect()
}

fn unit() -> SoftwareUnit {
    let mut unit = SoftwareUnit::new(StoreLayout::msix(4).unwrap(), 0);
    unit.set(X, 2, eventfds(1));
    unit
}

fn msi(first: u32, vectors: u32, ims: u32) -> SoftwareUnit {
    let form = MsiForm { wide: true, maskable: false };
    SoftwareUnit::new(StoreLayout::new(MessageStore::Msi(form), vectors, ims).unwrap(), first)
}

fn signalled(unit: &SoftwareUnit, message: Pair) -> u64 {
    unit.remap(message).unwrap().write(1).unwrap();
    unit.remap(message).unwrap().read().unwrap()
}

#[test]
fn the_pair_of_a_present_irte_is_remapped() {
    let unit = unit();
    let pair = unit.pair(X, 2).unwrap();
    assert_eq!(pair, Pair { address: 0xfee0_0050, data: 1 });
    assert_eq!(signalled(&unit, pair), 1);
}

#[test]
fn anything_else_is_blocked() {
    let unit = unit();
    let fault = |address, data| unit.remap(Pair { address, data }).map(|_| ()).unwrap_err();
    assert_eq!(fault(0xfee0_0000, 0x40), RemappingFault::Format);
    assert_eq!(fault(0xfee0_0058, 0), RemappingFault::Format);
    assert_eq!(fault(0, 0), RemappingFault::Format);
    assert_eq!(fault(0xfee0_0030, 1), RemappingFault::NotPresent);
    assert_eq!(fault(0xfeef_fff4, 1), RemappingFault::NotPresent);
    assert_eq!(fault(0xfee0_0050, 0), RemappingFault::Stale);
    assert_eq!(fault(0xfee0_0050, 0x1_0001), RemappingFault::Stale);
    assert_eq!(fault(0xfeef_fffc, 0xffff_ffff), RemappingFault::NotPresent);
}

#[test]
fn devices_of_a_vm_do_not_share_handles() {
    let mut other = SoftwareUnit::new(StoreLayout::msix(4).unwrap(), 2048);
    other.set(X, 2, eventfds(1));
    let pair = other.pair(X, 2).unwrap();
    assert_eq!(pair.intel_index(), Some(2050));
    assert!(other.remap(pair).is_ok());
    assert_eq!(unit().remap(pair).unwrap_err(), RemappingFault::NotPresent);
    assert_eq!(other.remap(unit().pair(X, 2).unwrap()).unwrap_err(), RemappingFault::NotPresent);
}

#[test]
fn the_last_handle_is_named_by_its_pair() {
    let mut unit = SoftwareUnit::new(StoreLayout::msix(1).unwrap(), 65535);
    unit.set(X, 0, eventfds(1));
    assert_eq!(unit.pair(X, 0).unwrap().intel_index(), Some(65535));
    assert!(unit.remap(unit.pair(X, 0).unwrap()).is_ok());
}

#[test]
fn a_pair_that_was_given_back_stays_dead() {
    let mut unit = unit();
    let old = unit.pair(X, 2).unwrap();
    unit.clear(X, 2);
    assert_eq!(unit.pair(X, 2), None);
    assert_eq!(unit.remap(old).unwrap_err(), RemappingFault::NotPresent);
    unit.set(X, 2, eventfds(1));
    assert_eq!(unit.remap(old).unwrap_err(), RemappingFault::Stale);
    assert!(unit.remap(unit.pair(X, 2).unwrap()).is_ok());
}

#[test]
fn each_message_of_msi_has_an_irte_of_its_own() {
    let mut unit = msi(100, 4, 3);
    unit.set(Store::MSI, 0, eventfds(4));
    let pair = unit.pair(Store::MSI, 0).unwrap();
    assert_eq!((pair.intel_index(), pair.address & SHV, pair.data), (Some(103), SHV, 0));
    for message in 0..4 {
        let sent = Pair { data: pair.data | message, ..pair };
        let eventfd = unit.remap(sent).unwrap();
        assert!(std::ptr::eq(eventfd, unit.eventfd(Store::MSI, message).unwrap()));
    }
    assert_eq!(unit.remap(Pair { data: 4, ..pair }).unwrap_err(), RemappingFault::NotPresent);
    assert_eq!(
        unit.remap(Pair { address: pair.address & !SHV, ..pair }).unwrap_err(),
        RemappingFault::Format
    );
    // IMS of the same device is validated by its own format.
    unit.set(Store::IMS, 2, eventfds(1));
    let ims = unit.pair(Store::IMS, 2).unwrap();
    assert_eq!((ims.intel_index(), ims.data), (Some(102), 1));
    assert_eq!(unit.remap(Pair { address: ims.address | SHV, data: 0 }).unwrap_err(), RemappingFault::Format);
}

#[test]
fn each_allocation_of_msi_has_new_handles_until_the_window_was_gone_through() {
    let mut unit = msi(0, 32, 0);
    let pairs: Vec<Pair> = (0..BLOCKS)
        .map(|_| {
            unit.set(Store::MSI, 0, eventfds(32));
            let pair = unit.pair(Store::MSI, 0).unwrap();
            (0..32).for_each(|message| unit.clear(Store::MSI, message));
            pair
        })
        .collect();
    unit.set(Store::MSI, 0, eventfds(2));
    let again = unit.pair(Store::MSI, 0).unwrap();
    assert_eq!(again, pairs[0]);
    for old in &pairs[1..] {
        assert_eq!(old.data % 32, 0);
        assert_eq!(unit.remap(*old).unwrap_err(), RemappingFault::NotPresent);
    }
    assert!(unit.remap(Pair { data: 1, ..again }).is_ok());
    assert_eq!(unit.remap(Pair { data: 2, ..again }).unwrap_err(), RemappingFault::NotPresent);
}

#[test]
fn a_unit_that_goes_on_gives_no_pair_of_before_again() {
    let mut before = unit();
    let old = before.pair(X, 2).unwrap();
    before.clear(X, 2);
    let mut after = SoftwareUnit::new(StoreLayout::msix(4).unwrap(), 0);
    assert!(after.restore(&before.save()));
    assert_eq!(after.remap(old).unwrap_err(), RemappingFault::NotPresent);
    after.set(X, 2, eventfds(1));
    assert_eq!(after.remap(old).unwrap_err(), RemappingFault::Stale);
    assert_eq!(after.pair(X, 2).unwrap(), Pair { data: 2, ..old });

    let mut before = msi(0, 4, 0);
    before.set(Store::MSI, 0, eventfds(4));
    let old = before.pair(Store::MSI, 0).unwrap();
    let mut after = msi(0, 4, 0);
    after.set(Store::MSI, 0, eventfds(4));
    assert!(after.restore(&before.save()));
    assert!(after.pair(Store::MSI, 0).is_none(), "no message is present");
    after.set(Store::MSI, 0, eventfds(4));
    assert_ne!(after.pair(Store::MSI, 0).unwrap(), old);
}

#[test]
fn the_state_of_another_unit_changes_nothing() {
    let mut unit = unit();
    let pair = unit.pair(X, 2).unwrap();
    let of_five = SoftwareUnit::new(StoreLayout::msix(5).unwrap(), 0).save();
    let of_no_block = SavedUnit { block: BLOCKS, ..unit.save() };
    let last_block = SavedUnit { block: BLOCKS - 1, ..unit.save() };
    for saved in [of_five, of_no_block] {
        assert!(!unit.restore(&saved));
        assert!(unit.remap(pair).is_ok());
    }
    assert!(unit.restore(&last_block));
    assert!(unit.remap(pair).is_err(), "no IRTE is present");
}
