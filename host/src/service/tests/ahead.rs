//! Irqfds that are armed before the guest asks.

use super::*;
use crate::fake::Kind;
use crate::service::PrearmThread;
use std::time::Duration;

fn count(bench: &Bench, kind: Kind) -> usize {
    bench.world.lock().count(kind)
}

#[test]
fn a_map_that_finds_its_irqfds_armed_attaches_none() {
    let bench = Bench::armed(512);
    assert_eq!(bench.service.armed_ahead(), 64 + 8 + 16);
    bench.map(&batch(0..10));
    let world = bench.world.lock();
    let made: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind, world.count(kind))).collect();
    let made: Vec<_> = made.into_iter().filter(|(_, count)| *count > 0).collect();
    let expected = [(Kind::SetRoutes, 1), (Kind::Start, 1), (Kind::Pair, 10), (Kind::Mask, 10)];
    assert_eq!(made, expected);
}

#[test]
fn its_interrupts_arrive() {
    let bench = Bench::armed(512);
    bench.map(&batch(0..3));
    bench.unmask(0, 2);
    bench.raise(0, 2);
    assert_eq!(bench.delivered(), [(APIC_IDS[2], 0x42)]);
}

#[test]
fn a_map_of_more_than_wait_attaches_the_rest() {
    let bench = Bench::armed(4);
    bench.map(&batch(0..10));
    assert_eq!((count(&bench, Kind::Attach), bench.service.armed_ahead()), (6, 0));
}

#[test]
fn no_more_wait_than_can_still_be_mapped() {
    let bench = Bench::armed(512);
    bench.map(&batch(0..60));
    bench.arm();
    assert_eq!(bench.service.armed_ahead(), 4 + 8 + 16);
    bench.unmap(&bench.map(&batch(60..64)).records.iter().map(named).collect::<Vec<_>>());
    bench.arm();
    assert_eq!(bench.service.armed_ahead(), 4 + 8 + 16);
}

#[test]
fn quotas_bound_what_waits() {
    let bench = Bench::with(&Config { armed_ahead: 512, max_irtes: 7, max_irtes_per_device: 4, ..config() });
    bench.enable();
    bench.arm();
    assert_eq!(bench.service.armed_ahead(), 7);
    bench.map(&batch(0..4));
    bench.arm();
    assert_eq!(bench.service.armed_ahead(), 3, "the other devices may still have three");
}

#[test]
fn nothing_is_armed_for_a_guest_that_has_not_enabled_it() {
    let bench = Bench::with(&Config { armed_ahead: 512, ..config() });
    bench.arm();
    assert!(count(&bench, Kind::Arm) == 0 && bench.service.armed_ahead() == 0);
    bench.enable();
    bench.arm();
    assert!(bench.service.armed_ahead() > 0);
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn what_was_used_is_never_used_again() {
    // U1
    let bench = Bench::armed(512);
    let mapped = bench.map(&batch(0..1)).records;
    let waiting = bench.service.armed_ahead();
    bench.unmap(&[named(&mapped[0])]);
    assert_eq!((count(&bench, Kind::Detach), bench.service.armed_ahead()), (1, waiting));
}

#[test]
fn a_refused_map_costs_no_irqfd() {
    let bench = Bench::armed(512);
    let waiting = bench.service.armed_ahead();
    let asked: Vec<_> = batch(0..10).into_iter().chain([routed(0, 64, 0, 0x40)]).collect();
    let answer = bench.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &asked);
    assert_eq!(answer.status, Status::ABORTED);
    assert!(bench.world.lock().calls().is_empty());
    assert_eq!(bench.service.armed_ahead(), waiting);
}

#[test]
fn a_parked_entry_takes_none_that_is_armed() {
    let bench = Bench::armed(512);
    let waiting = bench.service.armed_ahead();
    bench.map(&[parked(0, 3)]);
    assert_eq!((count(&bench, Kind::Detach), bench.service.armed_ahead()), (0, waiting));
}

#[test]
fn a_parked_entry_gets_the_last_gsi_even_if_it_waits() {
    // 16 GSIs for devices that have more entries.
    let bench = Bench::with(&Config { armed_ahead: 512, max_irtes: 16, ..config() });
    bench.enable();
    bench.arm();
    assert_eq!((bench.service.armed_ahead(), bench.free_gsis()), (16, 0));
    let mapped = bench.map(&[parked(0, 3), routed(0, 4, 0, 0x51)]).records;
    assert_eq!(statuses(&mapped), [Status::OK; 2]);
    assert_eq!((count(&bench, Kind::Detach), count(&bench, Kind::Attach)), (1, 0));
    assert_eq!(bench.service.armed_ahead(), 14);
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn a_line_that_does_not_come_off_for_a_parked_entry_is_not_used() {
    let bench = Bench::with(&Config { armed_ahead: 512, max_irtes: 16, ..config() });
    bench.enable();
    bench.arm();
    bench.world.lock().faults.fail_once(Some(Kind::Detach), 0, libc::EIO);
    assert_eq!(statuses(&bench.map(&[parked(0, 3)]).records), [Status::HOST_ERROR]);
    assert_eq!((bench.service.armed_ahead(), bench.world.lock().armed_ahead()), (15, 16));
    // The next call takes it off.
    assert_eq!(bench.map(&batch(0..1)).status, Status::OK);
    assert_eq!((bench.service.armed_ahead(), bench.free_gsis()), (14, 1));
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn a_failure_to_arm_is_logged_and_a_map_goes_on_without() {
    let bench = Bench::with(&Config { armed_ahead: 512, ..config() });
    bench.enable();
    bench.world.lock().expect(None);
    bench.world.lock().faults.fail_from(Some(Kind::Arm), 2, libc::ENOSPC);
    bench.service.arm_ahead();
    assert_eq!((bench.service.armed_ahead(), bench.service.statistics().log_lines), (2, 2));
    assert_eq!(bench.map(&batch(0..10)).status, Status::OK);
    assert_eq!(count(&bench, Kind::Attach), 8);
}

#[test]
fn what_does_not_come_off_is_tried_again() {
    let bench = Bench::armed(4);
    bench.world.lock().faults.fail_once(Some(Kind::Detach), 1, libc::EIO);
    bench.disable();
    assert_eq!((bench.world.lock().armed_ahead(), bench.service.armed_ahead()), (1, 0));
    assert_eq!(bench.free_gsis(), 4071, "it stays out of use");
    bench.service.shut_down();
    bench.assert_baseline();
}

#[test]
fn the_armer_arms_after_enable_and_after_each_call_that_uses_many() {
    let config = Config { armed_ahead: 8, ..config() };
    let Bench { service, world, ram } = Bench::with(&config);
    let service = Arc::new(service);
    let armer = PrearmThread::start(Arc::clone(&service)).unwrap();
    let wait = || {
        let armed = patience::until(Duration::from_secs(20), || service.armed_ahead() >= 8);
        assert!(armed, "{} armed", service.armed_ahead());
    };
    let call = |operation, records: &[u8], count| {
        world.lock().expect(None);
        let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
        ram.write_slice(header.as_bytes(), GuestAddress(BLOCK)).unwrap();
        ram.write_slice(records, GuestAddress(BLOCK + 64)).unwrap();
        assert_eq!(service.call(0, 0, GuestPhysAddr(BLOCK)), Status::OK);
    };
    call(Operation::ENABLE, EnableRecord::request(Service::FEATURES, None).as_bytes(), 1);
    wait();
    call(Operation::MAP, batch(0..6).as_bytes(), 6);
    wait();
    drop(armer);
    service.shut_down();
    assert!(world.lock().check().is_empty());
}
