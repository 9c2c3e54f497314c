//! States that belong to another VM, and VMs that cannot be saved.

use super::*;

/// Why a state is refused by the VM with these devices, which then can be used.
fn refusal(
    state: &SavedState,
    vcpus: &[u32],
    devices: Vec<(u8, FakeDevice)>,
    fixture: &ServiceFixture,
) -> String {
    assert_eq!(fixture.features().max_apic_id, *vcpus.last().unwrap());
    devices.into_iter().for_each(|(number, fake)| fixture.add(number, fake));
    let refused = fixture.service.restore(state).unwrap_err().to_string();
    fixture.enable();
    fixture.disable();
    fixture.service.shut_down();
    fixture.assert_baseline();
    refused
}

fn with_devices(
    state: &SavedState,
    devices: impl FnOnce(&SharedPlatform) -> Vec<(u8, FakeDevice)>,
) -> String {
    let fixture = ServiceFixture::without_devices(&config());
    let devices = devices(&fixture.platform);
    refusal(state, &APIC_IDS, devices, &fixture)
}

fn saved() -> SavedState {
    SavedVm::enabled().fixture.service.save().unwrap()
}

#[test]
fn other_vcpus_are_named() {
    let fixture = ServiceFixture::without_devices(&Config { apic_ids: vec![0, 1], ..config() });
    assert_eq!(
        refusal(&saved(), &[0, 1], vec![], &fixture),
        "the saved VM has vCPUs with the APIC ids [0, 1, 300], and this one has [0, 1]"
    );
}

#[test]
fn other_devices_are_named() {
    let state = saved();
    let first = |platform: &SharedPlatform| FakeDevice::new(platform.clone(), 0, ENTRIES[0]).emulated();
    let second = |platform: &SharedPlatform, entries| {
        FakeDevice::new(platform.clone(), 1, entries).with_own_ims(IMS).emulated()
    };
    let third = |platform: &SharedPlatform| FakeDevice::with_msi(platform.clone(), 2, MESSAGES).emulated();
    assert_eq!(
        with_devices(&state, |platform| vec![(0, first(platform)), (2, third(platform))]),
        "the saved VM has a device 0000:00:02.0, and this one has none there"
    );
    assert_eq!(
        with_devices(&state, |platform| vec![
            (0, first(platform)),
            (1, second(platform, ENTRIES[1])),
            (2, third(platform)),
            (3, FakeDevice::new(platform.clone(), 3, 1).emulated()),
        ]),
        "device 0000:00:04.0 is not in the saved VM"
    );
    assert_eq!(
        with_devices(&state, |platform| vec![
            (0, first(platform)),
            (1, second(platform, 9)),
            (2, third(platform)),
        ]),
        "device 0000:00:02.0 is another one: saved with 8 MSI-X entries, 0 messages of MSI, 4 IMS entries (stores 0xc, \
         flags 0x7); here with 9 MSI-X entries, 0 messages of MSI, 4 IMS entries (stores 0xc, flags 0x7)"
    );
    let less_isolated = |platform: &SharedPlatform| first(platform).not_isolated(pvir_abi::Refusal::POLICY);
    let fixture = ServiceFixture::without_devices(&config());
    fixture.add(0, less_isolated(&fixture.platform));
    fixture.add(1, second(&fixture.platform, ENTRIES[1]));
    fixture.add(2, third(&fixture.platform));
    let refused = fixture.service.restore(&state).unwrap_err();
    assert!(matches!(refused, RestoreError::NotIsolated { device: id, .. } if id == device(0)), "{refused}");
}

#[test]
fn a_vm_that_has_run_takes_no_state() {
    let state = saved();
    let vm = SavedVm::enabled();
    assert_eq!(vm.fixture.service.restore(&state).unwrap_err().to_string(), "the VM has run already");
    vm.fixture.disable();
    assert!(matches!(vm.fixture.service.restore(&state), Err(RestoreError::InUse)));
    let vm = SavedVm::new();
    vm.program_msi(1, 0x61);
    assert!(matches!(vm.fixture.service.restore(&state), Err(RestoreError::InUse)));
}

#[test]
fn an_event_area_outside_of_ram_is_named() {
    let state = saved();
    let platform = SharedPlatform::new(FIRST_GSI);
    let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0x1_0000), 0x1_0000)]).unwrap();
    let service = Service::new(&config(), Arc::new(ram), Box::new(FakeKvm::new(platform))).unwrap();
    let refused = service.restore(&state).unwrap_err();
    assert!(matches!(refused, RestoreError::EventArea(GuestPhysAddr(AREA))), "{refused}");
}
