//! Irqfds that are armed before the guest asks.

use super::*;
use crate::fake::CallKind;
use crate::service::PrearmThread;
use std::time::Duration;

fn count(fixture: &ServiceFixture, kind: CallKind) -> usize {
    fixture.platform.lock().count(kind)
}

#[test]
fn a_map_that_finds_its_irqfds_armed_attaches_none() {
    let fixture = ServiceFixture::armed(512);
    assert_eq!(fixture.service.armed_ahead(), 64 + 8 + 16);
    fixture.map(&batch(0..10));
    let platform = fixture.platform.lock();
    let made: Vec<_> = CallKind::ALL.into_iter().map(|kind| (kind, platform.count(kind))).collect();
    let made: Vec<_> = made.into_iter().filter(|(_, count)| *count > 0).collect();
    let expected =
        [(CallKind::SetRoutes, 1), (CallKind::Start, 1), (CallKind::Pair, 10), (CallKind::Mask, 10)];
    assert_eq!(made, expected);
}

#[test]
fn its_interrupts_arrive() {
    let fixture = ServiceFixture::armed(512);
    fixture.map(&batch(0..3));
    fixture.unmask(0, 2);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(APIC_IDS[2], 0x42)]);
}

#[test]
fn a_map_of_more_than_wait_attaches_the_rest() {
    let fixture = ServiceFixture::armed(4);
    fixture.map(&batch(0..10));
    assert_eq!((count(&fixture, CallKind::Attach), fixture.service.armed_ahead()), (6, 0));
}

#[test]
fn no_more_wait_than_can_still_be_mapped() {
    let fixture = ServiceFixture::armed(512);
    fixture.map(&batch(0..60));
    fixture.arm();
    assert_eq!(fixture.service.armed_ahead(), 4 + 8 + 16);
    fixture.unmap(&fixture.map(&batch(60..64)).records.iter().map(named).collect::<Vec<_>>());
    fixture.arm();
    assert_eq!(fixture.service.armed_ahead(), 4 + 8 + 16);
}

#[test]
fn quotas_bound_what_waits() {
    let fixture =
        ServiceFixture::with(&Config { armed_ahead: 512, max_irtes: 7, max_irtes_per_device: 4, ..config() });
    fixture.enable();
    fixture.arm();
    assert_eq!(fixture.service.armed_ahead(), 7);
    fixture.map(&batch(0..4));
    fixture.arm();
    assert_eq!(fixture.service.armed_ahead(), 3, "the other devices may still have three");
}

#[test]
fn nothing_is_armed_for_a_guest_that_has_not_enabled_it() {
    let fixture = ServiceFixture::with(&Config { armed_ahead: 512, ..config() });
    fixture.arm();
    assert!(count(&fixture, CallKind::Arm) == 0 && fixture.service.armed_ahead() == 0);
    fixture.enable();
    fixture.arm();
    assert!(fixture.service.armed_ahead() > 0);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn what_was_used_is_never_used_again() {
    // U1
    let fixture = ServiceFixture::armed(512);
    let mapped = fixture.map(&batch(0..1)).records;
    let waiting = fixture.service.armed_ahead();
    fixture.unmap(&[named(&mapped[0])]);
    assert_eq!((count(&fixture, CallKind::Detach), fixture.service.armed_ahead()), (1, waiting));
}

#[test]
fn a_refused_map_costs_no_irqfd() {
    let fixture = ServiceFixture::armed(512);
    let waiting = fixture.service.armed_ahead();
    let asked: Vec<_> = batch(0..10).into_iter().chain([routed(0, 64, 0, 0x40)]).collect();
    let answer = fixture.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &asked);
    assert_eq!(answer.status, Status::ABORTED);
    assert!(fixture.platform.lock().calls().is_empty());
    assert_eq!(fixture.service.armed_ahead(), waiting);
}

#[test]
fn a_parked_entry_takes_none_that_is_armed() {
    let fixture = ServiceFixture::armed(512);
    let waiting = fixture.service.armed_ahead();
    fixture.map(&[parked(0, 3)]);
    assert_eq!((count(&fixture, CallKind::Detach), fixture.service.armed_ahead()), (0, waiting));
}

#[test]
fn a_parked_entry_gets_the_last_gsi_even_if_it_waits() {
    // 16 GSIs for devices that have more entries.
    let fixture = ServiceFixture::with(&Config { armed_ahead: 512, max_irtes: 16, ..config() });
    fixture.enable();
    fixture.arm();
    assert_eq!((fixture.service.armed_ahead(), fixture.free_gsis()), (16, 0));
    let mapped = fixture.map(&[parked(0, 3), routed(0, 4, 0, 0x51)]).records;
    assert_eq!(statuses(&mapped), [Status::OK; 2]);
    assert_eq!((count(&fixture, CallKind::Detach), count(&fixture, CallKind::Attach)), (1, 0));
    assert_eq!(fixture.service.armed_ahead(), 14);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn a_line_that_does_not_come_off_for_a_parked_entry_is_not_used() {
    let fixture = ServiceFixture::with(&Config { armed_ahead: 512, max_irtes: 16, ..config() });
    fixture.enable();
    fixture.arm();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 0, libc::EIO);
    assert_eq!(statuses(&fixture.map(&[parked(0, 3)]).records), [Status::HOST_ERROR]);
    assert_eq!((fixture.service.armed_ahead(), fixture.platform.lock().armed_ahead()), (15, 16));
    // The next call takes it off.
    assert_eq!(fixture.map(&batch(0..1)).status, Status::OK);
    assert_eq!((fixture.service.armed_ahead(), fixture.free_gsis()), (14, 1));
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn a_failure_to_arm_is_logged_and_a_map_goes_on_without() {
    let fixture = ServiceFixture::with(&Config { armed_ahead: 512, ..config() });
    fixture.enable();
    fixture.platform.lock().expect(None);
    fixture.platform.lock().faults.fail_from(Some(CallKind::Arm), 2, libc::ENOSPC);
    fixture.service.arm_ahead();
    assert_eq!((fixture.service.armed_ahead(), fixture.service.statistics().log_lines), (2, 2));
    assert_eq!(fixture.map(&batch(0..10)).status, Status::OK);
    assert_eq!(count(&fixture, CallKind::Attach), 8);
}

#[test]
fn what_does_not_come_off_is_tried_again() {
    let fixture = ServiceFixture::armed(4);
    fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 1, libc::EIO);
    fixture.disable();
    assert_eq!((fixture.platform.lock().armed_ahead(), fixture.service.armed_ahead()), (1, 0));
    assert_eq!(fixture.free_gsis(), 4071, "it stays out of use");
    fixture.service.shut_down();
    fixture.assert_baseline();
}

#[test]
fn the_armer_arms_after_enable_and_after_each_call_that_uses_many() {
    let config = Config { armed_ahead: 8, ..config() };
    let ServiceFixture { service, platform, ram } = ServiceFixture::with(&config);
    let service = Arc::new(service);
    let armer = PrearmThread::start(Arc::clone(&service)).unwrap();
    let wait = || {
        let armed = patience::until(Duration::from_secs(20), || service.armed_ahead() >= 8);
        assert!(armed, "{} armed", service.armed_ahead());
    };
    let call = |operation, records: &[u8], count| {
        platform.lock().expect(None);
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
    assert!(platform.lock().check().is_empty());
}
