//! Devices of the host: what they hold inside is not saved, and the guest is told of it.

use super::*;
use crate::service::{SaveError, SaveOptions};

const NOT_TOLD: &str = "what device 0000:00:01.0 (fake 0) holds inside cannot be saved, and its guest cannot be told that it \
    will be found reset: it does not program the device by pvir, or took no events (EPOCH)";

/// A VM whose first device is the host's, and whose second is emulated. Nothing of it is enabled.
fn vm() -> SavedVm {
    let fixture = ServiceFixture::without_devices(&config());
    fixture.add(0, FakeDevice::new(fixture.platform.clone(), 0, ENTRIES[0]).with_backed_ims());
    fixture.add(1, FakeDevice::new(fixture.platform.clone(), 1, ENTRIES[1]).with_own_ims(IMS).emulated());
    SavedVm { fixture }
}

fn enabled(features: Features) -> SavedVm {
    let vm = vm();
    let area = features.contains(Features::EPOCH).then_some(GuestPhysAddr(AREA));
    let asked = EnableRecord::request(features, area);
    assert_eq!(vm.fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]).status, Status::OK);
    vm
}

/// Saves it, ends it, and restores it into a new VM.
fn move_on(before: &SavedVm, options: SaveOptions) -> SavedVm {
    before.fixture.platform.lock().expect(None);
    let bytes = before.fixture.service.save_with(options).unwrap().to_bytes().unwrap();
    before.fixture.assert_order();
    let area = before.area();
    before.fixture.service.shut_down();
    before.fixture.assert_baseline();
    let after = vm();
    after.fixture.ram.write_slice(area.as_bytes(), GuestAddress(AREA)).unwrap();
    after.fixture.platform.lock().expect(None);
    after.fixture.service.restore(&SavedState::from_bytes(&bytes).unwrap()).unwrap();
    after.fixture.assert_order();
    after
}

#[test]
fn what_it_held_is_delivered_once_when_the_entry_is_mapped_again() {
    // S4, S7: pending in the device, raised while parked, and raised before it was stopped
    let before = enabled(MSIX_ONLY);
    before.fixture.map(&[routed(0, 3, 0, 0x51), parked(0, 4), routed(0, 5, 1, 0x53), routed(0, 6, 1, 0x54)]);
    (3..7).for_each(|index| before.fixture.unmask(0, index));
    before.fixture.platform.lock().latch(place(0, 3));
    before.fixture.raise(0, 4);
    before.fixture.raise(0, 5);
    assert_eq!(before.fixture.delivered(), [(1, 0x53)]);
    let epoch = before.area().epoch;

    let after = move_on(&before, SaveOptions::default());
    let area = after.area();
    assert_eq!((area.epoch, area.reason), (epoch + 1, EventReason::STALE_PAIRS));
    assert_eq!(after.fixture.platform.lock().footprint().open.len(), 2);
    let mapped = after.fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 4, 300, 0x52), routed(0, 5, 1, 0x53)]);
    assert_eq!(mapped.status, Status::OK);
    assert_eq!(after.fixture.delivered(), [(0, 0x51), (300, 0x52)]);
    after.fixture.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>());
    after.fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 4, 300, 0x52), routed(0, 6, 1, 0x54)]);
    assert_eq!(after.fixture.delivered(), [], "once and no more");
}

#[test]
fn who_is_not_told_is_not_saved_and_goes_on() {
    for (features, attached) in [
        (None, false),
        (Some(Features::MSIX), false),
        (Some(MSIX_ONLY | Features::ATTACH), false),
        (Some(MSIX_ONLY | Features::ATTACH), true),
        (Some(MSIX_ONLY), true),
    ] {
        let vm = features.map_or_else(vm, enabled);
        if features.is_some_and(|features| features.contains(Features::ATTACH)) && attached {
            let asked = pvir_abi::AttachRecord::request(device(0));
            assert_eq!(vm.fixture.call(Operation::ATTACH, CallFlags::empty(), &[asked]).status, Status::OK);
        }
        vm.fixture.platform.lock().expect(None);
        let outcome = vm.fixture.service.save();
        assert_eq!(vm.fixture.service.check_save(SaveOptions::default()).is_ok(), outcome.is_ok());
        match outcome {
            Ok(_) => assert!(attached, "{features:?}"),
            Err(error) => {
                assert!(!attached, "{features:?}");
                assert_eq!(error.to_string(), NOT_TOLD);
                assert_eq!(vm.fixture.platform.lock().calls(), [], "nothing was stopped");
                let untold = SaveOptions::default().with_untold_resets();
                assert!(vm.fixture.service.save_with(untold).is_ok(), "{features:?}");
            }
        }
    }
}

#[test]
fn an_emulated_table_goes_on_with_what_the_device_held() {
    // S7, T1: demanded by the operator, the table is replayed, and what was pending is sent when it is unmasked
    let before = vm();
    before.fixture.control(0, trapped::ENABLE);
    before.fixture.live(0, 3, 300, 0x71);
    before.fixture.live(0, 4, 1, 0x72);
    before.fixture.trapped_mask(0, 4, true);
    before.fixture.raise(0, 4);
    before.fixture.platform.lock().latch(place(0, 5));
    let after = move_on(&before, SaveOptions::default().with_untold_resets());
    assert_eq!((after.fixture.pending(0), after.fixture.delivered()), (1 << 4 | 1 << 5, vec![]));
    after.fixture.raise(0, 3);
    after.fixture.trapped_mask(0, 4, false);
    assert_eq!(after.fixture.delivered(), [(300, 0x71), (1, 0x72)]);
}

#[test]
fn after_a_save_that_is_not_used_it_sends_what_it_held_meanwhile() {
    let vm = enabled(MSIX_ONLY);
    vm.fixture.map(&[routed(0, 3, 0, 0x51)]);
    vm.fixture.unmask(0, 3);
    vm.fixture.platform.lock().expect(None);
    vm.fixture.service.save().unwrap();
    (0..3).for_each(|_| vm.fixture.raise(0, 3));
    assert_eq!(vm.fixture.delivered(), []);
    vm.fixture.service.resume().unwrap();
    assert_eq!(vm.fixture.delivered(), [(0, 0x51)]);
    vm.fixture.service.resume().unwrap();
    vm.fixture.raise(0, 3);
    assert_eq!(vm.fixture.delivered(), [(0, 0x51)]);
    vm.fixture.assert_order();
}

#[test]
fn one_that_does_not_stop_or_go_on_is_named_and_the_rest_goes_on() {
    let vm = enabled(MSIX_ONLY);
    vm.fixture.map(&[routed(0, 3, 0, 0x51)]);
    vm.fixture.unmask(0, 3);
    vm.fixture.platform.lock().expect(None);
    vm.fixture.platform.lock().faults.fail_once(Some(CallKind::Suspend), 0, libc::EIO);
    let failed = vm.fixture.service.save().unwrap_err();
    assert_eq!(failed.to_string(), "stopping device 0000:00:01.0 (fake 0) failed");
    vm.fixture.raise(0, 3);
    assert_eq!(vm.fixture.delivered(), [(0, 0x51)]);

    vm.fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 0, libc::EIO);
    assert!(matches!(vm.fixture.service.save(), Err(SaveError::Detach { .. })));
    vm.fixture.raise(0, 3);
    assert_eq!(vm.fixture.delivered(), [(0, 0x51)], "it was woken");

    vm.fixture.service.save().unwrap();
    vm.fixture.platform.lock().faults.fail_once(Some(CallKind::Wake), 0, libc::EIO);
    let failed = vm.fixture.service.resume().unwrap_err();
    assert_eq!(failed.to_string(), "letting device 0000:00:01.0 (fake 0) go on failed");
    vm.fixture.assert_order();
}
