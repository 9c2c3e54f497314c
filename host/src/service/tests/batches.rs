//! Many records in a call: each for itself, or all or nothing.

use super::*;
use crate::fake::CallKind;
use pvir_abi::EntryState;

const WHOLE: CallFlags = CallFlags::ALL_OR_NOTHING;

#[test]
fn without_the_flag_good_records_are_carried_out() {
    // O1, O2
    let fixture = ServiceFixture::enabled();
    let answer = fixture.map(&[
        routed(0, 0, 0, 0x40),
        routed(0, 1, 0, 5),
        routed(9, 0, 0, 0x40),
        routed(1, 0, 1, 0x41),
    ]);
    assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 2));
    assert_eq!(statuses(&answer.records), [Status::OK, Status::BAD_VECTOR, Status::NO_DEVICE, Status::OK]);
    assert_eq!(fixture.service.irtes().len(), 2);
}

#[test]
fn with_the_flag_one_bad_record_aborts_all() {
    // O3, O5
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&batch(0..4)).records;
    let before = fixture.state();
    let refused = routed(0, 63, 0, 5);
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP] {
        for place in 0..5 {
            let good = |entry: &EntryRecord| match operation {
                Operation::MAP => routed(0, entry.index + 8, 0, 0x60),
                Operation::RETARGET => moved(entry, 1, 0x61),
                _ => named(entry),
            };
            let mut asked: Vec<_> = mapped.iter().map(good).collect();
            asked.insert(place, if operation == Operation::UNMAP { query_of(0, 63) } else { refused });
            let answer = fixture.call(operation, WHOLE, &asked);
            assert_eq!((answer.status, answer.header.done), (Status::ABORTED, 0), "{operation:?}");
            let aborted = answer.records.iter().filter(|r| r.status == Status::ABORTED).count();
            assert_eq!(aborted, 4, "{operation:?} {:?}", statuses(&answer.records));
            assert!(answer.records.iter().all(|r| (r.address, r.data, r.state) == (0, 0, 0)));
            assert_eq!(fixture.state(), before, "{operation:?}");
        }
    }
}

#[test]
fn with_the_flag_a_call_that_is_all_bad_is_aborted_too() {
    // O3: no record is left to be ABORTED, and yet the call is.
    let fixture = ServiceFixture::enabled();
    for asked in [vec![routed(0, 0, 0, 5)], vec![routed(0, 0, 0, 5), routed(9, 0, 0, 0x40)]] {
        let answer = fixture.call(Operation::MAP, WHOLE, &asked);
        assert_eq!((answer.status, answer.header.done), (Status::ABORTED, 0));
    }
}

#[test]
fn with_the_flag_good_calls_are_carried_out() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.call(Operation::MAP, WHOLE, &batch(0..10));
    let to: Vec<_> = mapped.records.iter().map(|entry| moved(entry, 1, 0x99)).collect();
    let retargeted = fixture.call(Operation::RETARGET, WHOLE, &to);
    let unmapped =
        fixture.call(Operation::UNMAP, WHOLE, &mapped.records.iter().map(named).collect::<Vec<_>>());
    assert_eq!([mapped.status, retargeted.status, unmapped.status], [Status::OK; 3]);
    fixture.assert_baseline();
}

#[test]
fn the_same_record_twice_in_a_map_exists_the_second_time() {
    // O4, M5
    let fixture = ServiceFixture::enabled();
    let asked = [routed(0, 3, 0, 0x51), routed(0, 3, 0, 0x51), routed(0, 3, 0, 0x52)];
    let answer = fixture.map(&asked).records;
    assert_eq!(statuses(&answer), [Status::OK, Status::OK, Status::ALREADY_MAPPED]);
    assert_eq!(answer[0].state, EntryState::MASKED.bits());
    assert_eq!(answer[1], EntryRecord { state: EntryState::EXISTING.bits(), ..answer[0] });
}

#[test]
fn a_handle_twice_in_an_unmap_is_stale_the_second_time() {
    // O4
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&batch(0..2)).records;
    let for_another = EntryRecord { index: 5, ..named(&mapped[0]) };
    let asked = [named(&mapped[0]), named(&mapped[0]), for_another, named(&mapped[1])];
    let stale = Status::STALE_HANDLE;
    let aborted = fixture.call(Operation::UNMAP, WHOLE, &asked);
    assert_eq!(statuses(&aborted.records), [Status::ABORTED, stale, stale, Status::ABORTED]);
    let partial = fixture.unmap(&asked);
    assert_eq!(statuses(&partial.records), [Status::OK, stale, stale, Status::OK]);
    fixture.assert_baseline();
}

#[test]
fn an_aborted_map_leaves_what_existed_before() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    let before = fixture.state();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Start), 0, libc::EIO);
    let answer = fixture.call(Operation::MAP, WHOLE, &[routed(0, 3, 0, 0x51), routed(0, 4, 0, 0x52)]);
    assert_eq!(statuses(&answer.records), [Status::ABORTED, Status::DEVICE_ERROR]);
    assert_eq!(fixture.state(), before);
    assert_eq!(fixture.query(&[named(&mapped)]).status, Status::OK);
}

#[test]
fn any_mix_of_devices_and_stores_goes_in_one_call() {
    let fixture = ServiceFixture::enabled();
    let asked = [
        routed(0, 0, 0, 0x40),
        messages(8, 0, 0x70),
        routed(1, 7, 1, 0x41),
        parked(0, 1),
        routed(1, 6, 300, 0x42),
    ];
    let answer = fixture.map(&asked);
    assert_eq!((answer.status, answer.header.done), (Status::OK, 5));
    assert_eq!(fixture.platform.lock().count(CallKind::SetRoutes), 1);
    assert_eq!(fixture.platform.lock().count(CallKind::Start), 3);
    assert_eq!(fixture.features().irtes, 12);
}
