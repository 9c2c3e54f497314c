//! Saving a service and restoring it into a new one.

mod damaged;
mod host_devices;
mod refused;
mod vm;

use super::*;
use crate::fake::CallKind;
use pvir_abi::{EventArea, EventReason};
use vm::SavedVm;
use zerocopy::FromZeros;

/// Message control of 16 messages with a 64-bit address, one of them enabled.
const CONTROL: u16 = 0x0089;
/// Three devices of which the guest has two to program, when it has enabled MSI-X alone.
const MSIX_ONLY: Features = Features::MSIX.union(Features::EPOCH).union(Features::PARKING);

#[test]
fn the_session_goes_on_with_a_higher_epoch_and_every_handle_is_stale() {
    // S1, S2, H1, H2
    let before = SavedVm::enabled();
    let mapped = before.fixture.map(&[routed(0, 3, 0, 0x51), parked(0, 4), ims(1, 1, 1, 0x52)]).records;
    assert_eq!(statuses(&mapped), [Status::OK; 3]);
    let epoch = before.area().epoch;

    let after = before.move_on();
    let area = after.area();
    assert_eq!(area.epoch, epoch + 1);
    assert_eq!((area.sequence, area.reason), (1, EventReason::STALE_PAIRS));
    assert_eq!(area.device, DeviceId::new(u16::MAX, Bdf(u16::MAX)));
    let features = after.fixture.features();
    assert_eq!((features.enabled, features.irtes), (Service::FEATURES.bits(), 0));
    let again = EnableRecord::request(MSIX_ONLY, None);
    let enabled = after.fixture.call(Operation::ENABLE, CallFlags::empty(), &[again]);
    assert_eq!((enabled.status, enabled.header.epoch), (Status::ALREADY_ENABLED, epoch + 1));

    let named: Vec<_> = mapped.iter().map(named).collect();
    assert_eq!(statuses(&after.fixture.query(&named).records), [Status::STALE_HANDLE; 3]);
    assert_eq!(statuses(&after.fixture.unmap(&named).records), [Status::STALE_HANDLE; 3]);
    let later = after.fixture.map(&batch(0..8)).records;
    assert!(later.iter().all(|new| mapped.iter().all(|old| old.handle != new.handle)));
}

#[test]
fn a_vcpu_that_has_not_read_its_status_yet_reads_it_afterwards() {
    // S1, C3
    let before = SavedVm::enabled();
    let status = before.fixture.map(&[routed(0, 3, 0, 0x51), routed(9, 3, 0, 0x51)]).status;
    assert_eq!((status, before.fixture.service.last_status(0)), (Status::PARTIAL, Status::PARTIAL));
    let after = before.move_on();
    let last = [0, 1].map(|vcpu| after.fixture.service.last_status(vcpu));
    assert_eq!(last, [Status::PARTIAL, Status::PENDING]);
}

#[test]
fn a_guest_that_took_notify_is_told_by_its_vector_once() {
    // S1, V4
    let before = SavedVm::new();
    let asked = EnableRecord::request(MSIX_ONLY | Features::NOTIFY, Some(GuestPhysAddr(AREA)));
    let asked = EnableRecord { notify_apic_id: 300, notify_vector: 0xe0, ..asked };
    let enabled = before.fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    assert_eq!(enabled.status, Status::OK);
    let after = before.move_on();
    assert_eq!(after.fixture.delivered(), [(300, 0xe0)]);
    let again = after.move_on();
    assert_eq!((again.fixture.delivered(), again.area().sequence), (vec![(300, 0xe0)], 2));
}

#[test]
fn what_was_cut_off_or_has_gone_stays_so() {
    // S2, H2
    let before = SavedVm::enabled();
    before.fixture.service.raise(Event::DeviceCutOff(device(0))).unwrap();
    before.fixture.service.raise(Event::DeviceGone(device(1))).unwrap();
    let bytes = before.fixture.service.save().unwrap().to_bytes().unwrap();
    let state = SavedState::from_bytes(&bytes).unwrap();
    let whole = SavedVm::new();
    let refused = whole.fixture.service.restore(&state).unwrap_err();
    assert!(matches!(refused, RestoreError::NewDevice(id) if id == device(1)), "{refused}");
    whole.fixture.service.remove_device(device(1)).unwrap();
    whole.fixture.service.restore(&state).unwrap();
    let answers = whole.fixture.map(&[routed(0, 3, 0, 0x51), routed(1, 3, 0, 0x52)]).records;
    assert_eq!(statuses(&answers), [Status::DEVICE_CUT_OFF, Status::DEVICE_GONE]);
    assert!(whole.fixture.service.readmit(device(0)).unwrap());
    assert_eq!(whole.fixture.map(&[routed(0, 3, 0, 0x51)]).status, Status::OK);
}

#[test]
fn what_was_raised_while_parked_is_delivered_once_when_the_entry_is_mapped_again() {
    // S4, M6
    let before = SavedVm::enabled();
    before.fixture.map(&[parked(0, 3), parked(0, 4), parked(0, 5), parked_messages(4)]);
    [3, 4].into_iter().for_each(|index| before.fixture.unmask(0, index));
    (0..3).for_each(|_| before.fixture.raise(0, 3));
    before.fixture.raise(0, 4);
    before.fixture.raise_message(2);

    let after = before.move_on();
    assert_eq!(after.fixture.delivered(), []);
    let mapped = after.fixture.map(&[routed(0, 3, 300, 0x51), parked(0, 4), routed(0, 5, 0, 0x53)]).records;
    assert_eq!(after.fixture.delivered(), [(300, 0x51)]);
    after.fixture.map(&[messages(4, 1, 0x60)]);
    assert_eq!(after.fixture.delivered(), [(1, 0x62)]);
    after.fixture.retarget(&[moved(&mapped[1], 1, 0x52)]);
    assert_eq!(after.fixture.delivered(), [(1, 0x52)]);
    after.fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    after.fixture.map(&[routed(0, 3, 300, 0x51), routed(0, 4, 0, 0x54)]);
    assert_eq!(after.fixture.delivered(), [], "once and no more");
}

#[test]
fn what_is_held_outlasts_a_second_save_and_ends_with_the_session() {
    // S4
    let before = SavedVm::enabled();
    before.fixture.map(&[parked(0, 3), parked(0, 4)]);
    [3, 4].into_iter().for_each(|index| before.fixture.unmask(0, index));
    [3, 4].into_iter().for_each(|index| before.fixture.raise(0, index));
    let after = before.move_on().move_on();
    after.fixture.map(&[routed(0, 3, 300, 0x51)]);
    assert_eq!(after.fixture.delivered(), [(300, 0x51)]);
    after.fixture.disable();
    after.fixture.enable();
    after.fixture.map(&[routed(0, 4, 300, 0x51)]);
    assert_eq!(after.fixture.delivered(), []);
}

#[test]
fn a_map_that_fails_leaves_what_is_held() {
    // S4, O5
    let before = SavedVm::enabled();
    before.fixture.map(&[parked(0, 3)]);
    before.fixture.unmask(0, 3);
    before.fixture.raise(0, 3);
    let after = before.move_on();
    after.fixture.platform.lock().faults.fail_once(Some(CallKind::SetRoutes), 0, libc::ENOMEM);
    let failed = after.fixture.map(&[routed(0, 3, 300, 0x51)]);
    assert_eq!(statuses(&failed.records), [Status::HOST_ERROR]);
    after.fixture.map(&[routed(0, 3, 300, 0x51)]);
    assert_eq!(after.fixture.delivered(), [(300, 0x51)]);
}

#[test]
fn nothing_is_delivered_between_save_and_resume_and_nothing_is_lost() {
    let vm = SavedVm::with(MSIX_ONLY);
    let mapped = vm.fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 4, 1, 0x52)]).records;
    [3, 4].into_iter().for_each(|index| vm.fixture.unmask(0, index));
    vm.program_msi(1, 0x61);
    vm.fixture.service.save().unwrap();
    (0..4).for_each(|_| vm.fixture.raise(0, 3));
    vm.fixture.raise_message(0);
    assert_eq!(vm.fixture.delivered(), []);
    vm.fixture.service.resume().unwrap();
    assert_eq!(vm.fixture.delivered(), [(0, 0x51), (1, 0x61)]);
    vm.fixture.service.resume().unwrap();
    vm.fixture.raise(0, 4);
    assert_eq!(vm.fixture.delivered(), [(1, 0x52)]);
    assert_eq!(vm.fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>()).status, Status::OK);
}

#[test]
fn an_emulated_store_goes_on_as_it_was() {
    // T1, T5
    for features in [None, Some(MSIX_ONLY)] {
        let before = features.map_or_else(SavedVm::new, SavedVm::with);
        before.program_msi(1, 0x61);
        before.fixture.service.save().unwrap();
        before.fixture.raise_message(0);
        let after = before.move_on();
        assert_eq!(after.fixture.delivered(), [(1, 0x61)], "{features:?}");
        after.fixture.raise_message(0);
        assert_eq!(after.fixture.delivered(), [(1, 0x61)]);
        assert_eq!(after.msi_control(), CONTROL);
    }
}

#[test]
fn a_masked_entry_of_an_emulated_table_keeps_what_is_pending() {
    // T1
    let before = SavedVm::new();
    before.fixture.control(0, trapped::ENABLE);
    before.fixture.live(0, 3, 300, 0x71);
    before.fixture.trapped_mask(0, 3, true);
    before.fixture.raise(0, 3);
    assert_eq!((before.fixture.pending(0), before.fixture.delivered()), (1 << 3, vec![]));
    let after = before.move_on();
    assert_eq!((after.fixture.pending(0), after.fixture.delivered()), (1 << 3, vec![]));
    after.fixture.trapped_mask(0, 3, false);
    assert_eq!((after.fixture.pending(0), after.fixture.delivered()), (0, vec![(300, 0x71)]));
}

#[test]
fn a_device_that_refuses_leaves_the_service_as_new() {
    let before = SavedVm::enabled();
    let state = before.fixture.service.save().unwrap();
    let after = SavedVm::new();
    after.fixture.platform.lock().faults.fail_once(Some(CallKind::Open), 1, libc::EIO);
    let refused = after.fixture.service.restore(&state).unwrap_err();
    assert_eq!(refused.to_string(), "opening device 0000:00:02.0 failed");
    after.fixture.assert_order();
    assert!(after.fixture.platform.lock().footprint().open.is_empty());
    after.fixture.service.restore(&state).unwrap();
}

#[test]
fn an_irqfd_that_stays_lets_the_vm_go_on() {
    let vm = SavedVm::enabled();
    vm.fixture.map(&batch(0..4));
    (0..4).for_each(|index| vm.fixture.unmask(0, index));
    vm.fixture.platform.lock().expect(None);
    vm.fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 2, libc::EIO);
    let failed = vm.fixture.service.save().unwrap_err();
    assert_eq!(failed.to_string(), "holding back the interrupts of 0000:00:01.0 MSIX[2] failed");
    (0..4).for_each(|index| vm.fixture.raise(0, index));
    assert_eq!(vm.fixture.delivered().len(), 4);
    vm.fixture.assert_order();
}

#[test]
fn what_is_attached_stays_so_and_what_is_not_goes_on_trapped() {
    // S1, A1, A5
    let before = SavedVm::with(MSIX_ONLY | Features::ATTACH);
    before.fixture.control(1, trapped::ENABLE);
    before.fixture.live(1, 3, 300, 0x71);
    before.fixture.control(0, trapped::ENABLE);
    before.fixture.live(0, 2, 1, 0x72);
    before.attach(0);
    before.fixture.map(&[parked(0, 4)]);
    before.fixture.unmask(0, 4);
    before.fixture.raise(0, 4);

    let after = before.move_on();
    let attached = |number| {
        let asked = [DeviceRecord::request(device(number))];
        let answer = after.fixture.call(Operation::DEVICE_INFO, CallFlags::empty(), &asked);
        answer.records[0].flags & pvir_abi::DeviceFlags::ATTACHED.bits() != 0
    };
    assert_eq!([0, 1].map(attached), [true, false]);
    after.fixture.raise(1, 3);
    assert_eq!(after.fixture.delivered(), [(300, 0x71)], "it is trapped as before");
    // What ATTACH and the save have held comes with MAP, once.
    after.fixture.map(&[routed(0, 2, 1, 0x52), routed(0, 4, 0, 0x54)]);
    assert_eq!(after.fixture.delivered(), [(1, 0x52), (0, 0x54)]);
    let refused = after.fixture.map(&[routed(1, 3, 0, 0x51)]).records;
    assert_eq!(statuses(&refused), [Status::NOT_ATTACHED]);
    after.attach(1);
    assert_eq!(after.fixture.map(&[routed(1, 3, 0, 0x51)]).status, Status::OK);
    assert_eq!(after.fixture.delivered(), [(0, 0x51)], "A5: what was in use");
}
