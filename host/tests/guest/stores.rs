//! Multi-message MSI, and IMS.

use crate::ims_region::ImsRegion;
use crate::test_vm::TestVm;
use pvir_guest::abi::Status;
use pvir_guest::{Error, MapRequest, MsiCapability, MsixTable, Origin, Target};

#[test]
fn four_messages_of_msi_are_one_irte_and_move_together() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let id = vm.functions[2].id;
    let capability = MsiCapability::open(&*vm.functions[2].machine, id).unwrap();
    assert_eq!(capability.messages(), 8);
    let entry = capability.claim(4).unwrap();
    let irte = remapping.map(MapRequest::new(Origin::msi(id, 4), Target::fixed(1, 0x54))).unwrap();
    assert_eq!(irte.pair().data % 4, 0, "statement M10");
    assert_eq!(vm.routes(), [(1, 0x54), (1, 0x55), (1, 0x56), (1, 0x57)]);
    let mut live = entry.program(irte).unwrap().unmask();
    for number in 0..4 {
        vm.raise_msi(2, u32::from(number));
        assert_eq!(vm.injected(), [(1, 0x54 + number)]);
    }
    vm.raise_msi(2, 4);
    assert_eq!(vm.injected(), [], "only four are enabled");

    remapping.park(&mut live).unwrap();
    vm.raise_msi(2, 3);
    vm.raise_msi(2, 1);
    assert_eq!(vm.injected(), []);
    remapping.retarget(&mut live, Target::fixed(300, 0x80)).unwrap();
    let mut injected = vm.injected();
    injected.sort_unstable();
    assert_eq!(injected, [(300, 0x81), (300, 0x83)], "statement M6: one for each message");
    let error = remapping.retarget(&mut live, Target::fixed(0, 0x82)).unwrap_err();
    assert!(matches!(error, Error::Entry { status, .. } if status.status() == Status::BAD_VECTOR), "{error}");

    let (masked, irte) = live.mask().unwrap().retire();
    remapping.unmap(irte).unwrap();
    drop(masked);
    vm.assert_nothing_held();
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn a_number_of_messages_that_the_device_has_not_is_refused_by_both() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let id = vm.functions[2].id;
    assert!(MsiCapability::open(&*vm.functions[2].machine, id).unwrap().claim(16).is_err());
    for count in [3, 16, 32] {
        let error = remapping.map(MapRequest::new(Origin::msi(id, count), Target::Parked)).unwrap_err();
        let status = Status::BAD_MESSAGE_COUNT;
        assert!(matches!(error, Error::Entry { status: s, .. } if s.status() == status), "{count}: {error}");
    }
    drop(remapping);
    vm.assert_ends_clean();
}

/// An IMS entry of function `function`, whose message the device finds in slot 2 of guest RAM.
fn one_ims_entry(function: usize, index: u32) {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let id = vm.functions[function].id;
    let region = ImsRegion::new(vm.ram(), id, 4);
    let origin = Origin::ims(id, index);
    let irte = remapping.map(MapRequest::new(origin, Target::fixed(0, 0x61))).unwrap();
    let entry = region.memory().claim(2, index).unwrap().program(irte).unwrap();
    assert_eq!(region.message(2), None, "masked");
    let mut live = entry.unmask();
    let send = || vm.send(function, region.message(2).unwrap());
    send();
    assert_eq!(vm.injected(), [(0, 0x61)]);
    remapping.retarget(&mut live, Target::fixed(1, 0x62)).unwrap();
    send();
    assert_eq!(vm.injected(), [(1, 0x62)]);
    // The same message from another device is blocked: a pair is its device's own.
    vm.send(2, region.message(2).unwrap());
    assert_eq!(vm.injected(), []);
    let (slot, irte) = live.mask().unwrap().retire();
    remapping.unmap(irte).unwrap();
    drop(slot);
    drop(region);
    vm.assert_nothing_held();
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn ims_that_is_made_of_msix_entries_is_delivered() {
    one_ims_entry(0, 5);
}

#[test]
fn ims_of_a_device_s_own_is_delivered() {
    one_ims_entry(1, 3);
}

#[test]
fn an_msix_entry_and_the_ims_entry_made_of_it_exclude_each_other() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let id = vm.functions[0].id;
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();
    // Statement M11: IMS entry n is made of MSI-X entry 63 - n.
    let (msix, ims) = (table.origin(58), Origin::ims(id, 5));
    for (first, second) in [(msix, ims), (ims, msix)] {
        let irte = remapping.map(MapRequest::new(first, Target::fixed(0, 0x40))).unwrap();
        let error = remapping.map(MapRequest::new(second, Target::fixed(0, 0x41))).unwrap_err();
        let status = Status::BACKING_IN_USE;
        assert!(matches!(error, Error::Entry { status: s, .. } if s.status() == status), "{error}");
        assert!(vm.functions[0].machine.is_masked(58), "its place in the table stays masked");
        remapping.unmap(irte).unwrap();
    }
    drop((table, remapping));
    vm.assert_ends_clean();
}
