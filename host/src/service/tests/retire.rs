//! Irqfds that are taken off after UNMAP and DISABLE have returned.

use super::*;
use crate::fake::{Call, Kind};
use crate::service::PrearmThread;
use std::time::{Duration, Instant};

/// Enabled, with irqfds armed ahead, and somebody who takes them off: the test itself, by [`Bench::arm`].
fn retiring(armed_ahead: u32) -> Bench {
    let bench = Bench::with(&Config { armed_ahead, ..config() });
    bench.service.set_retires(true);
    bench.enable();
    bench.arm();
    bench
}

fn retired(bench: &Bench) -> (usize, usize) {
    (bench.service.lock().lines.retired(), bench.world.lock().retired())
}

#[test]
fn an_unmap_is_one_stop_and_one_routing() {
    let bench = retiring(0);
    let mapped = bench.map(&batch(0..10)).records;
    bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(bench.world.lock().calls(), [Call::Stop(place(0, 0), 10), Call::SetRoutes(0)]);
    assert_eq!(retired(&bench), (10, 10));
    bench.arm();
    assert_eq!((retired(&bench), bench.world.lock().count(Kind::Detach)), ((0, 0), 10));
    bench.assert_baseline();
}

#[test]
fn nothing_arrives_once_an_unmap_has_returned() {
    // U1
    let bench = retiring(512);
    let mapped = bench.map(&batch(0..3)).records;
    bench.unmask(0, 1);
    bench.raise(0, 1);
    assert_eq!(bench.delivered(), [(APIC_IDS[1], 0x41)]);
    bench.unmap(&[named(&mapped[1])]);
    bench.raise(0, 1);
    assert_eq!(bench.delivered(), []);
}

#[test]
fn a_line_is_detached_before_it_is_used_again() {
    // The fake sees an entry that is started with an irqfd that another one has used.
    let bench = retiring(8);
    for round in 0..5 {
        let mapped = bench.map(&batch(round..round + 8)).records;
        assert_eq!(statuses(&mapped), [Status::OK; 8]);
        bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
        bench.arm();
        assert_eq!(bench.service.armed_ahead(), 8);
    }
    let world = bench.world.lock();
    assert_eq!((world.count(Kind::Detach), world.count(Kind::Arm)), (8, 8), "each once in the last round");
}

#[test]
fn a_map_may_come_before_they_are_taken_off() {
    let bench = retiring(0);
    for _ in 0..3 {
        let mapped = bench.map(&batch(0..10)).records;
        assert_eq!(statuses(&mapped), [Status::OK; 10]);
        bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    }
    assert_eq!(retired(&bench), (30, 30));
    bench.disable();
    bench.arm();
    bench.assert_baseline();
}

#[test]
fn the_last_gsi_may_be_one_that_has_retired() {
    let bench = Bench::with(&Config { max_irtes: 16, ..config() });
    bench.service.set_retires(true);
    bench.enable();
    let mapped = bench.map(&batch(0..16)).records;
    bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!((retired(&bench), bench.free_gsis()), ((16, 16), 0));
    assert_eq!(statuses(&bench.map(&batch(0..16)).records), [Status::OK; 16]);
    assert_eq!(bench.world.lock().count(Kind::Detach), 16);
    bench.disable();
    bench.service.set_retires(false);
    bench.assert_baseline();
}

#[test]
fn an_interrupt_that_does_not_stop_loses_its_irqfd_before_its_route() {
    let bench = retiring(0);
    let mapped = bench.map(&batch(0..2)).records;
    bench.unmask(0, 0);
    bench.world.lock().faults.fail_from(Some(Kind::Stop), 0, libc::EIO);
    let answer = bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(statuses(&answer.records), [Status::DEVICE_ERROR; 2]);
    assert_eq!((retired(&bench), bench.world.lock().count(Kind::Detach)), ((0, 0), 2));
    bench.raise(0, 0);
    assert_eq!(bench.delivered(), []);
    bench.world.lock().faults.clear();
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn what_kvm_may_have_queued_is_waited_for() {
    // An irqfd that is attached to an eventfd that has counted injects from KVM's work queue, which only a
    // de-assignment waits for. The fake sees a route that is dropped under such a one.
    let bench = retiring(0);
    let mapped = bench.map(&[parked(0, 3), routed(0, 4, 0, 0x44)]).records;
    bench.unmask(0, 3);
    bench.raise(0, 3);
    assert_eq!(bench.retarget(&[moved(&mapped[0], 300, 0x51)]).status, Status::OK);
    assert_eq!(bench.delivered(), [(300, 0x51)]);
    bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!((retired(&bench), bench.world.lock().count(Kind::Detach)), ((1, 1), 1));
    bench.arm();
    bench.assert_baseline();
}

#[test]
fn a_disable_waits_for_no_irqfd() {
    let bench = retiring(512);
    bench.map(&batch(0..10));
    let armed = bench.service.armed_ahead();
    bench.disable();
    assert_eq!(bench.world.lock().count(Kind::Detach), 0);
    assert_eq!((bench.service.armed_ahead(), bench.service.lock().lines.retired()), (0, armed + 10));
    bench.arm();
    bench.assert_baseline();
}

#[test]
fn the_end_of_the_vm_leaves_nothing() {
    let bench = retiring(512);
    let mapped = bench.map(&batch(0..10)).records;
    bench.unmap(&mapped[..5].iter().map(named).collect::<Vec<_>>());
    bench.service.shut_down();
    bench.assert_baseline();
}

#[test]
fn what_does_not_come_off_is_kept_and_tried_again() {
    let bench = retiring(0);
    let mapped = bench.map(&batch(0..3)).records;
    bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    bench.world.lock().faults.fail_once(Some(Kind::Detach), 1, libc::EIO);
    bench.arm();
    assert_eq!(bench.service.statistics().log_lines, 2, "of ENABLE, and of the failure");
    bench.arm();
    assert_eq!(bench.free_gsis(), 4071, "it stays out of use");
    bench.map(&[parked(0, 9)]);
    assert_eq!(bench.free_gsis(), 4071, "the old one is back, a new one is taken");
    bench.disable();
    bench.assert_baseline();
}

#[test]
fn a_thread_takes_them_off() {
    let Bench { service, world, ram } = retiring(0);
    let service = Arc::new(service);
    let thread = PrearmThread::start(Arc::clone(&service)).unwrap();
    let call = |operation, records: &[EntryRecord]| -> Vec<EntryRecord> {
        world.lock().expect(None);
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
    let patience = Instant::now() + Duration::from_secs(60);
    while world.lock().retired() > 0 {
        assert!(Instant::now() < patience, "{} left", world.lock().retired());
        std::thread::yield_now();
    }
    drop(thread);
    service.shut_down();
    assert!(world.lock().check().is_empty());
}
