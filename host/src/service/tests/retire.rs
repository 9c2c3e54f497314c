//! Irqfds that are taken off after UNMAP and DISABLE have returned.

use super::*;
use crate::fake::{BackendCall, CallKind};
use crate::service::PrearmThread;
use std::time::Duration;

/// Enabled, with irqfds armed ahead, and with a thread that detaches them: the test itself, by [`ServiceFixture::arm`].
fn retiring(armed_ahead: u32) -> ServiceFixture {
    let fixture = ServiceFixture::with(&Config { armed_ahead, ..config() });
    fixture.service.set_retires(true);
    fixture.enable();
    fixture.arm();
    fixture
}

fn retired(fixture: &ServiceFixture) -> (usize, usize) {
    (fixture.service.lock().lines.retired(), fixture.platform.lock().retired())
}

#[test]
fn an_unmap_is_one_stop_and_one_routing() {
    let fixture = retiring(0);
    let mapped = fixture.map(&batch(0..10)).records;
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(
        fixture.platform.lock().calls(),
        [BackendCall::Stop(place(0, 0), 10), BackendCall::SetRoutes(0)]
    );
    assert_eq!(retired(&fixture), (10, 10));
    fixture.arm();
    assert_eq!((retired(&fixture), fixture.platform.lock().count(CallKind::Detach)), ((0, 0), 10));
    fixture.assert_baseline();
}

#[test]
fn irqfds_go_in_batches_only_if_nobody_else_has_their_eventfds() {
    for (releases, left) in [(true, 0), (false, 9)] {
        let fixture = retiring(0);
        fixture.platform.lock().releases_eventfds = releases;
        let mapped = fixture.map(&batch(0..10)).records;
        fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
        fixture.service.lock().lines.prearm(0).unwrap();
        assert_eq!(retired(&fixture), (left, left));
        fixture.arm();
        fixture.assert_baseline();
    }
}

#[test]
fn nothing_arrives_once_an_unmap_has_returned() {
    // U1
    let fixture = retiring(512);
    let mapped = fixture.map(&batch(0..3)).records;
    fixture.unmask(0, 1);
    fixture.raise(0, 1);
    assert_eq!(fixture.delivered(), [(APIC_IDS[1], 0x41)]);
    fixture.unmap(&[named(&mapped[1])]);
    fixture.raise(0, 1);
    assert_eq!(fixture.delivered(), []);
}

#[test]
fn a_line_is_detached_before_it_is_used_again() {
    // The fake sees an entry that is started with an irqfd that another one has used.
    let fixture = retiring(8);
    for round in 0..5 {
        let mapped = fixture.map(&batch(round..round + 8)).records;
        assert_eq!(statuses(&mapped), [Status::OK; 8]);
        fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
        fixture.arm();
        assert_eq!(fixture.service.armed_ahead(), 8);
    }
    let platform = fixture.platform.lock();
    assert_eq!(
        (platform.count(CallKind::Detach), platform.count(CallKind::Arm)),
        (8, 8),
        "each once in the last round"
    );
}

#[test]
fn a_map_may_come_before_they_are_taken_off() {
    let fixture = retiring(0);
    for _ in 0..3 {
        let mapped = fixture.map(&batch(0..10)).records;
        assert_eq!(statuses(&mapped), [Status::OK; 10]);
        fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    }
    assert_eq!(retired(&fixture), (30, 30));
    fixture.disable();
    fixture.arm();
    fixture.assert_baseline();
}

#[test]
fn the_last_gsi_may_be_one_that_has_retired() {
    let fixture = ServiceFixture::with(&Config { max_irtes: 16, ..config() });
    fixture.service.set_retires(true);
    fixture.enable();
    let mapped = fixture.map(&batch(0..16)).records;
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!((retired(&fixture), fixture.free_gsis()), ((16, 16), 0));
    assert_eq!(statuses(&fixture.map(&batch(0..16)).records), [Status::OK; 16]);
    assert_eq!(fixture.platform.lock().count(CallKind::Detach), 16);
    fixture.disable();
    fixture.service.set_retires(false);
    fixture.assert_baseline();
}

#[test]
fn an_interrupt_that_does_not_stop_loses_its_irqfd_before_its_route() {
    let fixture = retiring(0);
    let mapped = fixture.map(&batch(0..2)).records;
    fixture.unmask(0, 0);
    fixture.platform.lock().faults.fail_from(Some(CallKind::Stop), 0, libc::EIO);
    let answer = fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(statuses(&answer.records), [Status::DEVICE_ERROR; 2]);
    assert_eq!((retired(&fixture), fixture.platform.lock().count(CallKind::Detach)), ((0, 0), 2));
    fixture.raise(0, 0);
    assert_eq!(fixture.delivered(), []);
    fixture.platform.lock().faults.clear();
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn what_kvm_may_have_queued_is_waited_for() {
    // An irqfd that is attached to an eventfd that has counted injects from KVM's work queue, which only a
    // de-assignment waits for. The fake sees a route that is dropped under such a one.
    let fixture = retiring(0);
    let mapped = fixture.map(&[parked(0, 3), routed(0, 4, 0, 0x44)]).records;
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    assert_eq!(fixture.retarget(&[moved(&mapped[0], 300, 0x51)]).status, Status::OK);
    assert_eq!(fixture.delivered(), [(300, 0x51)]);
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!((retired(&fixture), fixture.platform.lock().count(CallKind::Detach)), ((1, 1), 1));
    fixture.arm();
    fixture.assert_baseline();
}

#[test]
fn a_disable_waits_for_no_irqfd() {
    let fixture = retiring(512);
    fixture.map(&batch(0..10));
    let armed = fixture.service.armed_ahead();
    fixture.disable();
    assert_eq!(fixture.platform.lock().count(CallKind::Detach), 0);
    assert_eq!((fixture.service.armed_ahead(), fixture.service.lock().lines.retired()), (0, armed + 10));
    fixture.arm();
    fixture.assert_baseline();
}

#[test]
fn the_end_of_the_vm_leaves_nothing() {
    let fixture = retiring(512);
    let mapped = fixture.map(&batch(0..10)).records;
    fixture.unmap(&mapped[..5].iter().map(named).collect::<Vec<_>>());
    fixture.service.shut_down();
    fixture.assert_baseline();
}

#[test]
fn what_does_not_come_off_is_kept_and_tried_again() {
    let fixture = retiring(0);
    let mapped = fixture.map(&batch(0..3)).records;
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 1, libc::EIO);
    fixture.arm();
    assert_eq!(fixture.service.statistics().log_lines, 2, "of ENABLE, and of the failure");
    fixture.arm();
    assert_eq!(fixture.free_gsis(), 4071, "it stays out of use");
    fixture.map(&[parked(0, 9)]);
    assert_eq!(fixture.free_gsis(), 4071, "the old one is back, a new one is taken");
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn only_what_comes_off_counts_as_freed() {
    let fixture = retiring(0);
    let mapped = fixture.map(&batch(0..3)).records;
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    let freed = || fixture.service.lock().lines.freed();
    let before = freed();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), 1, libc::EIO);
    fixture.arm();
    assert_eq!(freed() - before, 1, "the second one stays, and ends the step");
    fixture.arm();
    assert_eq!(freed() - before, 2);
    fixture.disable();
    assert_eq!(freed() - before, 3, "tried again");
    fixture.assert_baseline();
}

#[test]
fn a_thread_takes_them_off() {
    let ServiceFixture { service, platform, ram } = retiring(0);
    let service = Arc::new(service);
    let thread = PrearmThread::start(Arc::clone(&service)).unwrap();
    let call = |operation, records: &[EntryRecord]| -> Vec<EntryRecord> {
        platform.lock().expect(None);
        let count = u32::try_from(records.len()).unwrap();
        let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
        ram.write_slice(header.as_bytes(), GuestAddress(BLOCK)).unwrap();
        ram.write_slice(records.as_bytes(), GuestAddress(BLOCK + 64)).unwrap();
        assert_eq!(service.call(0, 0, GuestPhysAddr(BLOCK)), Status::OK);
        let mut answer = records.to_vec();
        ram.read_slice(answer.as_mut_slice().as_mut_bytes(), GuestAddress(BLOCK + 64)).unwrap();
        answer
    };
    let mapped = call(Operation::MAP, &batch(0..10));
    call(Operation::UNMAP, &mapped.iter().map(named).collect::<Vec<_>>());
    let retired = patience::until(Duration::from_secs(60), || platform.lock().retired() == 0);
    assert!(retired, "{} left", platform.lock().retired());
    drop(thread);
    service.shut_down();
    assert!(platform.lock().check().is_empty());
}
