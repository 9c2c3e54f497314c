//! Devices that are taken one at a time, by the real driver from the real service.

use crate::enabling::options;
use crate::test_vm::TestVm;
use pvir_guest::abi::Status;
use pvir_guest::{Error, MapRequest, MsixTable, Target};
use pvir_host::fake::CallKind;

#[test]
fn a_device_is_taken_late_and_given_back_alone() {
    let vm = TestVm::new();
    let remapping = vm.negotiate(16).enable(options().device_by_device()).unwrap();
    let (id, other) = (vm.functions[0].id, vm.functions[1].id);
    assert!(vm.platform.lock().footprint().open.is_empty(), "statement A1");
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();
    let target = Target::fixed(1, 0x51);
    match remapping.map(MapRequest::new(table.origin(3), target)) {
        Err(Error::Entry { status, .. }) => assert_eq!(status.status(), Status::NOT_ATTACHED),
        answered => panic!("{answered:?}"),
    }
    for _ in 0..20 {
        let device = remapping.attach(id).unwrap();
        assert_eq!(vm.platform.lock().footprint().open.len(), 1);
        let irte = remapping.map(device.msix(3, target)).unwrap();
        let entry = table.claim(3).unwrap().program(irte).unwrap().unmask();
        vm.injected();
        vm.raise(0, 3);
        assert_eq!(vm.injected(), [(1, 0x51)]);
        let (_masked, irte) = entry.mask().unwrap().retire();
        remapping.detach(device).unwrap();
        assert!(vm.platform.lock().footprint().open.is_empty());
        assert!(remapping.unmap(irte).is_err(), "it went with the device");
    }
    // A host that fails leaves the device as it was.
    vm.platform.lock().faults.fail_once(Some(CallKind::Open), 0, 5);
    assert!(matches!(remapping.attach(other), Err(Error::Device { .. })));
    let _other = remapping.attach(other).unwrap();
    drop((table, remapping));
    vm.assert_ends_clean();
}
