//! Discovery, ENABLE and DISABLE, granted and refused.

use crate::test_vm::{TestVm, config};
use pvir_guest::abi::{Conduits, DeviceId, Features, Refusal, Version};
use pvir_guest::{EnableOptions, EntryError, Error, MapRequest, MsixTable, Origin, Target};
use pvir_host::fake::{CallKind, FakeDevice};
use pvir_host::service::Service;

/// Everything that the service offers, without an event area.
pub(crate) fn options() -> EnableOptions {
    EnableOptions::new(Service::FEATURES - Features::EPOCH)
}

#[test]
fn the_guest_discovers_what_the_service_offers() {
    let vm = TestVm::new();
    let found = vm.discovered();
    assert_eq!((found.version, &found.host), (Version::NEWEST, vm.service.discovery()));
    assert_eq!(found.usable, Conduits::MSR | Conduits::PORT);
    let pvir = vm.negotiate(16);
    assert_eq!(pvir.limits().features, Service::FEATURES | Features::NOTIFY | Features::ATTACH);
    assert_eq!((pvir.limits().max_apic_id, pvir.limits().devices), (300, 3));
    assert_eq!((pvir.limits().max_irtes, pvir.limits().irtes), (config().max_irtes, 0));
    assert_eq!(pvir.max_entries_per_call(), 16);
}

#[test]
fn the_event_area_carries_the_epoch() {
    let vm = TestVm::new();
    let mut area = vm.event_memory();
    let mut pvir = vm.negotiate(16);
    for expected in 1..4 {
        let remapping = pvir.enable(options().with_events(area)).unwrap();
        let event = remapping.events().unwrap().read().unwrap();
        assert_eq!((remapping.epoch(), event.epoch, event.sequence), (expected, expected, 0), "statement V1");
        let disabled = remapping.disable().unwrap();
        (pvir, area) = (disabled.pvir, disabled.events.unwrap());
    }
}

#[test]
fn a_device_that_is_not_isolated_refuses_the_whole_vm() {
    let mut vm = TestVm::new();
    vm.add_msix(4, |device| device.not_isolated(Refusal::SHARED_GROUP));
    let failed = vm.negotiate(16).enable(options()).unwrap_err();
    let device = vm.functions[3].id;
    assert_eq!(failed.error, Error::Refused { reason: Refusal::SHARED_GROUP, device }, "statement E6");
    // The session is as it was.
    let mut info = [Err(EntryError::NotAsked)];
    assert_eq!(failed.pvir.device_info(&[device], &mut info), Ok(1));
    assert!(vm.platform.lock().footprint().open.is_empty());
    drop(failed);
    vm.assert_ends_clean();
}

#[test]
fn a_host_that_fails_to_open_a_device_enables_nothing() {
    let vm = TestVm::new();
    vm.platform.lock().faults.fail_once(Some(CallKind::Open), 1, 5);
    let failed = vm.negotiate(16).enable(options()).unwrap_err();
    assert!(matches!(failed.error, Error::Status { .. }), "{}", failed.error);
    assert!(vm.platform.lock().footprint().open.is_empty());
    let remapping = failed.pvir.enable(failed.options).unwrap();
    assert_eq!(vm.platform.lock().footprint().open.len(), 3);
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn a_feature_that_was_not_taken_is_not_served() {
    let vm = TestVm::new();
    let remapping = vm.negotiate(16).enable(EnableOptions::new(Features::MSIX)).unwrap();
    let id = vm.functions[0].id;
    let refused = |request| match remapping.map(request) {
        Err(Error::Entry { status, .. }) => status.status(),
        other => panic!("{other:?}"),
    };
    use pvir_guest::abi::Status;
    assert_eq!(refused(MapRequest::new(Origin::msix(id, 0), Target::Parked)), Status::BAD_FLAGS);
    assert_eq!(
        refused(MapRequest::new(Origin::ims(id, 0), Target::fixed(0, 0x40))),
        Status::STORE_UNSUPPORTED
    );
    let stranger = DeviceId::new(1, id.bdf);
    assert_eq!(
        refused(MapRequest::new(Origin::msix(stranger, 0), Target::fixed(0, 0x40))),
        Status::NO_DEVICE
    );
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn the_table_is_masked_when_enable_returns() {
    let mut vm = TestVm::empty(&config());
    vm.add_msix(16, FakeDevice::with_backed_ims);
    // It came up unmasked, with ones all over.
    assert!((0..16).all(|index| !vm.functions[0].machine.is_masked(index)));
    let remapping = vm.enable();
    assert!((0..16).all(|index| vm.functions[0].machine.is_masked(index)), "statement E4");
    let table = MsixTable::open(&*vm.functions[0].machine, vm.functions[0].id).unwrap();
    assert_eq!(table.len(), 16);
    drop((table, remapping));
    vm.assert_ends_clean();
}
