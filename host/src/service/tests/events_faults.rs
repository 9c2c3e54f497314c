//! Events while calls of the kernel fail, the guest's RAM goes, and other threads call.

use super::*;
use crate::fake::CallKind;
use crate::memory::CurrentRam;
use std::sync::Mutex;
use std::thread;

const EVENTS: [Event; 3] = [Event::StalePairs(None), Event::StalePairs(Some(CUT)), Event::DeviceCutOff(CUT)];
const CUT: DeviceId = DeviceId::new(0, Bdf(8));

#[test]
fn the_vector_is_not_lost_when_it_cannot_be_raised() {
    // V4
    let fixture = ServiceFixture::new();
    fixture.enable_notified();
    fixture.platform.lock().faults.fail_from(Some(CallKind::Signal), 0, libc::EPERM);
    assert!(fixture.event(Event::StalePairs(None)).unwrap().is_new);
    assert!(fixture.event(Event::StalePairs(None)).unwrap().is_new);
    assert_eq!((fixture.area().sequence, fixture.delivered()), (2, vec![]));
    let lines = fixture.service.statistics().log_lines;
    for _ in 0..100 {
        fixture.query(&[query_of(0, 1)]);
    }
    assert_eq!(fixture.service.statistics().log_lines, lines, "trying again is not told");
    fixture.platform.lock().faults.clear();
    fixture.query(&[query_of(0, 1)]);
    assert_eq!(fixture.delivered(), [(300, 0xee)], "one for both, with the guest's next call");
    fixture.query(&[query_of(0, 1)]);
    assert_eq!(fixture.delivered(), []);
}

#[test]
fn an_announcement_that_is_owed_ends_with_the_session() {
    let fixture = ServiceFixture::new();
    fixture.enable_notified();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Signal), 0, libc::EPERM);
    fixture.event(Event::StalePairs(None)).unwrap();
    fixture.disable();
    fixture.enable();
    fixture.query(&[query_of(0, 1)]);
    assert_eq!(fixture.delivered(), []);
}

/// Whatever fails: every handle of the device is dead, the guest is told, and what is left is given back later.
#[test]
fn every_call_fails_in_turn_under_every_event() {
    assert_eq!(CUT, device(0));
    let mut injected = 0;
    for event in EVENTS.into_iter().chain([Event::DeviceGone(CUT)]) {
        for after in 0.. {
            let fixture = ServiceFixture::new();
            fixture.enable_notified();
            let mapped = fixture.map(&batch(0..6)).records;
            let before = fixture.area().epoch;
            fixture.platform.lock().expect(None);
            fixture.platform.lock().faults.fail_once(None, after, libc::EIO);
            let raised = fixture.service.raise(event).unwrap();
            let unmet = fixture.platform.lock().faults.clear();
            assert_eq!((raised.irtes, raised.epoch, fixture.area().epoch), (6, Some(before + 1), before + 1));
            let asked: Vec<_> = mapped.iter().map(named).collect();
            let answer = fixture.query(&asked).records;
            assert!(answer.iter().all(|record| record.status != Status::OK), "{event:?} after {after}");
            assert_eq!(fixture.delivered(), [(300, 0xee)], "at the latest with that call");
            assert!(raised.unstopped <= 6);
            if matches!(event, Event::DeviceCutOff(_)) {
                let again = fixture.event(event).unwrap();
                assert_eq!((again.is_new, again.unstopped), (false, 0), "{event:?} after {after}");
            }
            fixture.service.shut_down();
            fixture.assert_order();
            fixture.assert_baseline();
            injected += u32::from(!unmet);
            if unmet {
                break;
            }
        }
    }
    assert!(injected > 15, "{injected}");
}

#[test]
fn an_area_whose_ram_is_gone_ends_no_session() {
    let whole = Arc::new(
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2000), (GuestAddress(0x2000), 0x8_0000)]).unwrap(),
    );
    let (rest, _) = whole.remove_region(GuestAddress(0), 0x2000).unwrap();
    let rest = Arc::new(rest);
    let memory = Arc::new(Mutex::new(Arc::clone(&whole)));
    let seen = Arc::clone(&memory);
    let mut fixture = ServiceFixture::new();
    fixture.ram = Arc::clone(&rest);
    fixture.service.ram = Arc::new(CurrentRam::new(move || Arc::clone(&seen.lock().unwrap())));
    let area = GuestPhysAddr(0x1040);
    let asked = EnableRecord {
        notify_vector: 0x40,
        ..EnableRecord::request(Service::FEATURES | Features::NOTIFY, Some(area))
    };
    let first = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]).header.epoch;
    let mapped = fixture.map(&[routed(0, 1, 0, 0x41)]).records[0];
    *memory.lock().unwrap() = rest;
    let lines = fixture.service.statistics().log_lines;
    for _ in 0..1000 {
        assert!(fixture.event(Event::StalePairs(None)).unwrap().is_new);
    }
    assert!(fixture.service.statistics().log_lines >= lines + 1000, "counted, and bounded by the limit");
    let answer = fixture.query(&[named(&mapped)]);
    assert_eq!((answer.header.epoch, answer.records[0].status), (first + 1000, Status::STALE_HANDLE));
    assert_eq!(fixture.delivered(), [(0, 0x40); 1000], "announced all the same");
    assert_eq!(fixture.map(&[routed(0, 1, 0, 0x41)]).status, Status::OK);
}

#[test]
fn events_and_calls_of_several_threads_are_seen_whole() {
    let fixture = ServiceFixture::new();
    fixture.enable_notified();
    let first = fixture.area().epoch;
    let service = &fixture.service;
    let ram = &fixture.ram;
    thread::scope(|scope| {
        for number in 0..3u64 {
            scope.spawn(move || {
                let at = 0x1_0000 + number * 0x1000;
                let index = u32::try_from(number).unwrap();
                for _ in 0..300 {
                    let header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);
                    let asked = routed(0, index, 0, 0x40);
                    ram.write_slice(header.as_bytes(), GuestAddress(at)).unwrap();
                    ram.write_slice(asked.as_bytes(), GuestAddress(at + 64)).unwrap();
                    assert_eq!(service.call(0, 0, GuestPhysAddr(at)), Status::OK);
                }
            });
        }
        scope.spawn(|| (0..100).for_each(|_| _ = service.raise(Event::StalePairs(Some(CUT))).unwrap()));
    });
    assert_eq!(fixture.area().epoch, first + 100);
    fixture.assert_order();
    fixture.event(Event::StalePairs(None)).unwrap();
    fixture.assert_baseline();
}
