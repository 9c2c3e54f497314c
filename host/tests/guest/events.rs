//! Events of the real service, as the real driver sees and survives them.

use crate::enabling::options;
use crate::test_vm::{Hypercalls, TestVm};
use pvir_guest::abi::EventReason;
use pvir_guest::{
    Advice, EnableOptions, Error, MapRequest, MsixTable, Notify, ReacquireFailed, Remapping, Target,
};
use pvir_host::service::Event;

const NOTIFY: (u32, u8) = (300, 0xee);

fn with_events(vm: &TestVm) -> EnableOptions {
    options().with_events(vm.event_memory())
}

fn enable(vm: &TestVm) -> Remapping<Hypercalls> {
    let notify = Notify::new(NOTIFY.0, NOTIFY.1);
    vm.negotiate(16).enable(with_events(vm).with_notify(notify)).unwrap()
}

fn raise(vm: &TestVm, event: Event) -> u64 {
    vm.platform.lock().expect(None);
    let raised = vm.service.raise(event).unwrap();
    assert_eq!(vm.platform.lock().check(), Vec::<String>::new());
    raised.epoch.unwrap()
}

#[test]
fn an_event_is_announced_and_the_recovery_loses_nothing() {
    let vm = TestVm::new();
    let remapping = enable(&vm);
    let id = vm.functions[0].id;
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();
    let irte = remapping.map(MapRequest::new(table.origin(3), Target::fixed(1, 0x51))).unwrap();
    let mut entry = table.claim(3).unwrap().program(irte).unwrap().unmask();
    let old = entry.irte().pair();
    for round in 1..20 {
        vm.raise(0, 3);
        assert_eq!(vm.injected(), [(1, 0x51)]);
        let epoch = raise(&vm, Event::StalePairs(Some(id)));
        assert_eq!(vm.injected(), [NOTIFY], "statement V4");
        let event = remapping.events().unwrap().read().unwrap();
        assert_eq!((event.epoch, event.sequence), (epoch, round), "statement V2");
        assert_eq!((event.reason, event.device), (EventReason::STALE_PAIRS, Some(id)));
        // What the device sends now is lost with the old pair.
        vm.raise(0, 3);
        assert_eq!(vm.injected(), []);
        assert_eq!(remapping.advise(&mut entry), Ok(Advice::Reacquire));
        let mut in_software = 0;
        entry = remapping.reacquire(entry).unwrap().raise_once(|_| in_software += 1);
        assert_eq!(in_software, 1);
        assert_eq!(remapping.advise(&mut entry), Ok(Advice::GoOn));
    }
    // A pair of before is dead, unless the host has given the same IRTE again to this entry.
    if entry.irte().pair() != old {
        vm.send(0, old);
        assert_eq!(vm.injected(), []);
    }
    vm.raise(0, 3);
    assert_eq!(vm.injected(), [(1, 0x51)]);
    drop((entry, table, remapping));
    vm.assert_ends_clean();
}

#[test]
fn another_devices_event_takes_no_call_and_an_overwritten_one_one() {
    let vm = TestVm::new();
    let remapping = enable(&vm);
    let (id, other) = (vm.functions[0].id, vm.functions[1].id);
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();
    let mut irte = remapping.map(MapRequest::new(table.origin(0), Target::Parked)).unwrap();
    let calls = || vm.service.statistics().ok;
    let before = calls();
    raise(&vm, Event::StalePairs(Some(other)));
    assert_eq!((remapping.advise(&mut irte), calls()), (Ok(Advice::GoOn), before));
    raise(&vm, Event::StalePairs(Some(other)));
    raise(&vm, Event::StalePairs(Some(other)));
    assert_eq!((remapping.advise(&mut irte), calls()), (Ok(Advice::GoOn), before + 1));
    remapping.unmap(irte).unwrap();
    drop((table, remapping));
    vm.assert_ends_clean();
}

#[test]
fn a_device_that_is_cut_off_is_taken_again_after_its_reset() {
    let vm = TestVm::new();
    let remapping = enable(&vm);
    let id = vm.functions[0].id;
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();
    let irte = remapping.map(MapRequest::new(table.origin(3), Target::fixed(1, 0x51))).unwrap();
    let mut entry = table.claim(3).unwrap().program(irte).unwrap().unmask();
    raise(&vm, Event::DeviceCutOff(id));
    vm.raise(0, 3);
    assert_eq!(vm.injected(), [NOTIFY]);
    assert_eq!(remapping.advise(&mut entry), Ok(Advice::ResetDevice));
    let (entry, target) = match remapping.reacquire(entry) {
        Err(ReacquireFailed::NotMapped { entry, target, error: Error::Entry { .. } }) => (entry, target),
        other => panic!("{other:?}"),
    };
    assert_eq!(vm.service.readmit(id), Ok(true));
    let entry = remapping.reacquire_masked(entry, target).unwrap().raise_once(|_| ());
    vm.raise(0, 3);
    assert_eq!(vm.injected(), [(1, 0x51)]);
    drop((entry, table, remapping));
    vm.assert_ends_clean();
}

#[test]
fn a_device_that_has_gone_is_forgotten() {
    let vm = TestVm::new();
    let remapping = enable(&vm);
    let id = vm.functions[0].id;
    let mut irte = remapping.map(MapRequest::new(pvir_guest::Origin::msix(id, 3), Target::Parked)).unwrap();
    raise(&vm, Event::DeviceGone(id));
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::Forget));
    assert!(remapping.unmap(irte).is_err());
    drop(remapping);
    vm.assert_ends_clean();
}
