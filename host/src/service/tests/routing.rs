//! Routings that name a vCPU in other ways than by its APIC id (APIC ids of the fixture: 0, 1 and 300).

use super::*;
use pvir_abi::{DeliveryMode, DestinationMode, EntryState};

/// Logical id of 300: member 12 of cluster 18.
const LOGICAL_300: u32 = 0x12_1000;

fn logical(index: u32, destination: u32, vector: u8) -> EntryRecord {
    let route = X86Route::fixed(destination, vector).with_destination_mode(DestinationMode::LOGICAL);
    EntryRecord { routing: route.into(), ..routed(0, index, 0, vector) }
}

fn lowest(asked: EntryRecord) -> EntryRecord {
    let mut asked = asked;
    asked.routing.delivery_mode = DeliveryMode::LOWEST_PRIORITY.0;
    asked
}

fn hinted(asked: EntryRecord) -> EntryRecord {
    let mut asked = asked;
    asked.routing.hint = 1;
    asked
}

#[test]
fn each_goes_to_the_vcpu_that_it_names() {
    // L2, L3, L4
    let fixture = ServiceFixture::enabled();
    for (asked, to) in [
        (logical(0, LOGICAL_300, 0x41), 300),
        (logical(1, 0xfff1, 0x42), 0),
        (lowest(logical(2, 3, 0x43)), 1),
        (hinted(logical(3, 3, 0x44)), 0),
        (lowest(routed(0, 4, 300, 0x45)), 300),
        (hinted(routed(0, 5, 1, 0x46)), 1),
        (lowest(hinted(logical(6, 3, 0x47))), 1),
    ] {
        let record = fixture.map(&[asked]).records[0];
        assert_eq!(record.status, Status::OK, "{asked:?}");
        fixture.unmask(0, asked.index);
        fixture.raise(0, asked.index);
        assert_eq!(fixture.delivered(), [(to, asked.routing.vector)]);
    }
}

#[test]
fn sets_that_are_empty_or_of_several_are_refused() {
    // L2, L3
    let fixture = ServiceFixture::enabled();
    let before = fixture.state();
    for (asked, status) in [
        (logical(0, 3, 0x41), Status::AMBIGUOUS_DESTINATION),
        (logical(0, 0xfffc, 0x41), Status::BAD_DESTINATION),
        (lowest(logical(0, 0x12_0fff, 0x41)), Status::BAD_DESTINATION),
        (logical(0, 0, 0x41), Status::BAD_DESTINATION),
        (logical(0, u32::MAX, 0x41), Status::BROADCAST),
        (hinted(routed(0, 0, 2, 0x41)), Status::BAD_DESTINATION),
    ] {
        assert_eq!(statuses(&fixture.map(&[asked]).records), [status], "{asked:?}");
    }
    assert_eq!(fixture.state(), before);
}

#[test]
fn query_answers_with_what_was_asked_for() {
    // L5
    let fixture = ServiceFixture::enabled();
    let asked = hinted(logical(3, 3, 0x44));
    let mapped = fixture.map(&[asked]).records[0];
    assert_eq!(fixture.query(&[named(&mapped)]).records[0].routing, asked.routing);
    let again = [asked, routed(0, 3, 0, 0x44), logical(3, 1, 0x44), hinted(routed(0, 3, 0, 0x44))];
    let statuses = statuses(&fixture.map(&again).records);
    assert_eq!(statuses[0], Status::OK);
    assert_eq!(statuses[1..], [Status::ALREADY_MAPPED; 3], "the same vCPU, asked for otherwise");
}

#[test]
fn the_same_place_asked_for_otherwise_costs_nothing() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 300, 0x44)]).records[0];
    let asked = logical(3, LOGICAL_300, 0x44).with_handle(mapped.handle);
    assert_eq!(fixture.retarget(&[asked]).status, Status::OK);
    assert!(fixture.platform.lock().calls().is_empty());
    assert_eq!(fixture.query(&[named(&mapped)]).records[0].routing, asked.routing);
}

#[test]
fn a_retarget_from_one_form_to_another_moves_it() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    for (asked, to) in
        [(logical(3, LOGICAL_300, 0x44), 300), (lowest(logical(3, 3, 0x45)), 1), (routed(0, 3, 0, 0x46), 0)]
    {
        let moved = fixture.retarget(&[asked.with_handle(mapped.handle)]).records[0];
        assert_eq!((moved.status, moved.state & EntryState::PARKED.bits()), (Status::OK, 0));
        fixture.raise(0, 3);
        assert_eq!(fixture.delivered(), [(to, asked.routing.vector)]);
    }
}

#[test]
fn what_was_not_taken_is_refused() {
    let fixture = ServiceFixture::new();
    let asked = EnableRecord::request(Features::MSIX, None);
    fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    let refused = [
        (logical(0, 1, 0x41), Status::BAD_DESTINATION_MODE),
        (lowest(routed(0, 0, 1, 0x41)), Status::BAD_DELIVERY_MODE),
        (hinted(routed(0, 0, 1, 0x41)), Status::BAD_DESTINATION_MODE),
    ];
    let answer = fixture.map(&refused.map(|(asked, _)| asked));
    assert_eq!(statuses(&answer.records), refused.map(|(_, status)| status));
}
