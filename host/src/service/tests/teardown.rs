//! A host that fails on the way down: the failure is reported, and nothing is lost for ever.

use super::*;
use crate::fake::CallKind;

fn failing(kind: CallKind) -> (ServiceFixture, EntryRecord) {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmask(0, 3);
    fixture.platform.lock().faults.fail_from(Some(kind), 0, libc::EIO);
    (fixture, mapped)
}

#[test]
fn an_interrupt_that_does_not_stop_is_reported_and_reaches_no_vcpu() {
    // U1
    let (fixture, mapped) = failing(CallKind::Stop);
    let answer = fixture.unmap(&[named(&mapped)]);
    assert_eq!((answer.status, answer.records[0].status), (Status::PARTIAL, Status::DEVICE_ERROR));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), []);
    assert_eq!(fixture.query(&[named(&mapped)]).records[0].status, Status::STALE_HANDLE);
}

#[test]
fn an_unmap_that_is_not_undone_was_not_aborted() {
    // U3: ABORTED would say that nothing changed.
    for kind in [CallKind::Stop, CallKind::Detach] {
        let (fixture, mapped) = failing(kind);
        let answer = fixture.call(Operation::UNMAP, CallFlags::ALL_OR_NOTHING, &[named(&mapped)]);
        assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 0), "{kind:?}");
        assert_eq!(fixture.query(&[named(&mapped)]).records[0].status, Status::STALE_HANDLE);
    }
}

#[test]
fn an_entry_that_does_not_stop_is_not_started_again() {
    let (fixture, mapped) = failing(CallKind::Stop);
    fixture.unmap(&[named(&mapped)]);
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::DEVICE_ERROR);
    fixture.platform.lock().faults.clear();
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::OK);
    assert_eq!(fixture.free_gsis(), 4072 - 1);
}

#[test]
fn an_irqfd_that_does_not_come_off_is_told_and_tried_again() {
    let (fixture, mapped) = failing(CallKind::Detach);
    let answer = fixture.unmap(&[named(&mapped)]);
    assert_eq!(answer.records[0].status, Status::HOST_ERROR);
    assert_eq!(fixture.free_gsis(), 4072 - 1);
    fixture.platform.lock().faults.clear();
    assert_eq!(fixture.map(&[routed(0, 4, 0, 0x52)]).status, Status::OK);
    assert_eq!(fixture.free_gsis(), 4072 - 1, "the old one is back, a new one is taken");
}

#[test]
fn a_route_that_does_not_drop_is_tried_again() {
    let (fixture, mapped) = failing(CallKind::SetRoutes);
    fixture.unmap(&[named(&mapped)]);
    assert_eq!(fixture.service.statistics().log_lines, 2, "of ENABLE, and of the failure");
    fixture.platform.lock().faults.clear();
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn what_is_left_after_disable_goes_with_the_end_of_the_vm() {
    for kind in [CallKind::Stop, CallKind::Detach, CallKind::SetRoutes, CallKind::Close] {
        let (fixture, _) = failing(kind);
        fixture.disable();
        fixture.platform.lock().faults.clear();
        fixture.service.shut_down();
        fixture.assert_order();
        fixture.assert_baseline();
    }
}

#[test]
fn a_map_that_cannot_be_undone_is_undone_later() {
    let fixture = ServiceFixture::enabled();
    let mut platform = fixture.platform.lock();
    platform.faults.fail_once(Some(CallKind::Pair), 0, libc::EIO);
    platform.faults.fail_once(Some(CallKind::Stop), 0, libc::EIO);
    drop(platform);
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::DEVICE_ERROR);
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::OK);
    fixture.disable();
    fixture.assert_baseline();
}
