//! Entries without a destination: what is raised is held.

use super::*;
use crate::fake::{BackendCall, CallKind};
use pvir_abi::EntryState;

#[test]
fn a_parked_map_has_a_pair_and_neither_route_nor_irqfd() {
    // M6
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    assert_eq!(record.state, (EntryState::PARKED | EntryState::MASKED).bits());
    assert_ne!((record.handle, record.address), (Handle::NONE, 0));
    let at = place(0, 3);
    assert_eq!(
        fixture.platform.lock().calls(),
        [BackendCall::Start(at, 1), BackendCall::Mask(at), BackendCall::Pair(at)]
    );
}

#[test]
fn what_is_raised_while_parked_is_delivered_once_at_the_first_route() {
    // M6, R1, M2
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    (0..5).for_each(|_| fixture.raise(0, 3));
    assert_eq!(fixture.delivered(), []);
    let answer = fixture.retarget(&[moved(&record, 300, 0x88)]).records[0];
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::SetRoutes(1), BackendCall::Attach(FIRST_GSI)]);
    assert_eq!(fixture.delivered(), [(300, 0x88)]);
    assert_eq!((answer.handle, answer.pair(), answer.state), (record.handle, record.pair(), 0));
}

#[test]
fn what_was_held_is_waited_for_before_the_entry_moves_on() {
    // R2; found by the model (docs/model.md, MoveLeavesQueued). The fake reports a route that is changed under a queue.
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    fixture.retarget(&[moved(&record, 300, 0x88)]);
    let answer = fixture.retarget(&[moved(&record, 1, 0x89)]);
    assert_eq!(answer.status, Status::OK);
    let waits = [BackendCall::Detach(FIRST_GSI), BackendCall::SetRoutes(1), BackendCall::Attach(FIRST_GSI)];
    assert_eq!(fixture.platform.lock().calls(), waits);
    assert_eq!(fixture.delivered(), [(300, 0x88)]);
    fixture.raise(0, 3);
    // Nothing was held this time, and the next move waits for nothing.
    fixture.retarget(&[moved(&record, 300, 0x8a)]);
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::SetRoutes(1)]);
    assert_eq!(fixture.delivered(), [(1, 0x89)]);
}

#[test]
fn an_entry_that_cannot_be_attached_after_the_wait_stays_where_it_was() {
    // R6
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    fixture.retarget(&[moved(&record, 300, 0x88)]);
    fixture.platform.lock().faults.fail_once(Some(CallKind::Attach), 0, libc::ENOMEM);
    assert_eq!(statuses(&fixture.retarget(&[moved(&record, 1, 0x89)]).records), [Status::HOST_ERROR]);
    let held = fixture.query(&[query_of(0, 3)]).records[0];
    assert_eq!((held.status, held.state, held.routing), (Status::OK, 0, routed(0, 3, 300, 0x88).routing));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x88), (300, 0x88)]);
}

#[test]
fn a_route_that_does_not_change_waits_for_nothing() {
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    fixture.retarget(&[moved(&record, 300, 0x88)]);
    fixture.retarget(&[moved(&record, 300, 0x88)]);
    assert!(fixture.platform.lock().calls().is_empty());
}

#[test]
fn an_entry_parked_again_holds_what_is_raised() {
    // R3
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmask(0, 3);
    let answer = fixture.retarget(&[park(&record)]).records[0];
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::Detach(FIRST_GSI), BackendCall::SetRoutes(0)]);
    assert_eq!((answer.status, answer.state), (Status::OK, EntryState::PARKED.bits()));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), []);
    fixture.retarget(&[moved(&record, 1, 0x52)]);
    assert_eq!(fixture.delivered(), [(1, 0x52)]);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x52)]);
}

#[test]
fn a_parked_entry_may_be_parked_again_and_unmapped() {
    // R3
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    assert_eq!(fixture.retarget(&[park(&record)]).status, Status::OK);
    assert!(fixture.platform.lock().calls().is_empty());
    assert_eq!(fixture.unmap(&[named(&record)]).status, Status::OK);
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::Stop(place(0, 3), 1)]);
    fixture.assert_baseline();
}

#[test]
fn parking_and_routing_in_one_call_is_one_routing() {
    let fixture = ServiceFixture::enabled();
    let asked = [parked(0, 0), routed(0, 1, 0, 0x41), parked(0, 2), routed(0, 3, 0, 0x43)];
    let mapped = fixture.map(&asked).records;
    let calls = [moved(&mapped[0], 1, 0x40), park(&mapped[1]), park(&mapped[2]), moved(&mapped[3], 1, 0x43)];
    assert_eq!(fixture.retarget(&calls).status, Status::OK);
    let kinds: Vec<_> = fixture.platform.lock().calls().iter().map(|call| call.kind()).collect();
    assert_eq!(kinds, [CallKind::Detach, CallKind::SetRoutes, CallKind::Attach]);
}

#[test]
fn query_of_a_parked_entry_has_no_routing() {
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    let looked = fixture.query(&[query_of(0, 3)]).records[0];
    assert_eq!(
        (looked.state, looked.arch, looked.handle),
        (EntryState::PARKED.bits(), pvir_abi::Arch(0), record.handle)
    );
    assert_eq!((looked.routing, looked.pair()), (pvir_abi::Routing::default(), record.pair()));
}

#[test]
fn the_same_parked_map_again_exists() {
    // M5
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    let again = fixture.map(&[parked(0, 3), routed(0, 3, 0, 0x51)]).records;
    assert_eq!(again[0], EntryRecord { state: (EntryState::PARKED | EntryState::EXISTING).bits(), ..record });
    assert_eq!(again[1].status, Status::ALREADY_MAPPED);
}

#[test]
fn a_handle_twice_in_a_retarget_is_answered_as_one_after_the_other() {
    // O4
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmask(0, 3);
    let answer = fixture.retarget(&[park(&record), moved(&record, 1, 0x52)]);
    let states: Vec<_> = answer.records.iter().map(|r| (r.status, r.state)).collect();
    assert_eq!(states, [(Status::OK, EntryState::PARKED.bits()), (Status::OK, 0)]);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x52)]);
    let answer = fixture.retarget(&[moved(&record, 1, 0x53), park(&record)]);
    let states: Vec<_> = answer.records.iter().map(|r| (r.status, r.state)).collect();
    assert_eq!(states, [(Status::OK, 0), (Status::OK, EntryState::PARKED.bits())]);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), []);
}
