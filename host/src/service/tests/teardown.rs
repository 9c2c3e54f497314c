//! A host that fails on the way down: nobody is told that all is well, and nothing is lost for ever.

use super::*;
use crate::fake::Kind;

fn failing(kind: Kind) -> (Bench, EntryRecord) {
    let bench = Bench::enabled();
    let mapped = bench.map(&[routed(0, 3, 0, 0x51)]).records[0];
    bench.unmask(0, 3);
    bench.world.lock().faults.fail_from(Some(kind), 0, libc::EIO);
    (bench, mapped)
}

#[test]
fn an_interrupt_that_does_not_stop_is_told_and_reaches_nobody() {
    // U1
    let (bench, mapped) = failing(Kind::Stop);
    let answer = bench.unmap(&[named(&mapped)]);
    assert_eq!((answer.status, answer.records[0].status), (Status::PARTIAL, Status::DEVICE_ERROR));
    bench.raise(0, 3);
    assert_eq!(bench.delivered(), []);
    assert_eq!(bench.query(&[named(&mapped)]).records[0].status, Status::STALE_HANDLE);
}

#[test]
fn an_unmap_that_is_not_undone_was_not_aborted() {
    // U3: ABORTED would say that nothing changed.
    for kind in [Kind::Stop, Kind::Detach] {
        let (bench, mapped) = failing(kind);
        let answer = bench.call(Operation::UNMAP, CallFlags::ALL_OR_NOTHING, &[named(&mapped)]);
        assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 0), "{kind:?}");
        assert_eq!(bench.query(&[named(&mapped)]).records[0].status, Status::STALE_HANDLE);
    }
}

#[test]
fn an_entry_that_does_not_stop_is_not_started_again() {
    let (bench, mapped) = failing(Kind::Stop);
    bench.unmap(&[named(&mapped)]);
    assert_eq!(bench.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::DEVICE_ERROR);
    bench.world.lock().faults.clear();
    assert_eq!(bench.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::OK);
    assert_eq!(bench.free_gsis(), 4072 - 1);
}

#[test]
fn an_irqfd_that_does_not_come_off_is_told_and_tried_again() {
    let (bench, mapped) = failing(Kind::Detach);
    let answer = bench.unmap(&[named(&mapped)]);
    assert_eq!(answer.records[0].status, Status::HOST_ERROR);
    assert_eq!(bench.free_gsis(), 4072 - 1);
    bench.world.lock().faults.clear();
    assert_eq!(bench.map(&[routed(0, 4, 0, 0x52)]).status, Status::OK);
    assert_eq!(bench.free_gsis(), 4072 - 1, "the old one is back, a new one is taken");
}

#[test]
fn a_route_that_does_not_drop_is_tried_again() {
    let (bench, mapped) = failing(Kind::SetRoutes);
    bench.unmap(&[named(&mapped)]);
    assert_eq!(bench.service.statistics().log_lines, 2, "of ENABLE, and of the failure");
    bench.world.lock().faults.clear();
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn what_is_left_after_disable_goes_with_the_end_of_the_vm() {
    for kind in [Kind::Stop, Kind::Detach, Kind::SetRoutes, Kind::Close] {
        let (bench, _) = failing(kind);
        bench.disable();
        bench.world.lock().faults.clear();
        bench.service.shut_down();
        bench.assert_order();
        bench.assert_baseline();
    }
}

#[test]
fn a_map_that_cannot_be_undone_is_undone_later() {
    let bench = Bench::enabled();
    let mut world = bench.world.lock();
    world.faults.fail_once(Some(Kind::Pair), 0, libc::EIO);
    world.faults.fail_once(Some(Kind::Stop), 0, libc::EIO);
    drop(world);
    assert_eq!(bench.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::DEVICE_ERROR);
    assert_eq!(bench.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::OK);
    bench.disable();
    bench.assert_baseline();
}
