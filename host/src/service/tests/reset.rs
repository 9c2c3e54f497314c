//! A reset of the whole VM: the session is over, and the next guest finds the service as the first one did.

use super::*;

#[test]
fn a_reset_ends_the_session_and_the_next_one_has_a_higher_epoch() {
    // X3, E8
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 4, 0, 0x52)]).records;
    let epoch = fixture.map(&[routed(0, 5, 0, 0x53)]).header.epoch;
    fixture.service.reset();
    fixture.assert_order();
    assert_eq!(fixture.platform.lock().footprint(), Footprint::default());
    assert_eq!((fixture.features().enabled, fixture.features().irtes), (0, 0));
    assert_eq!(fixture.query(&[named(&mapped[0])]).status, Status::NOT_ENABLED);

    fixture.enable();
    let answer = fixture.query(&[named(&mapped[0]), named(&mapped[1])]);
    assert_eq!(statuses(&answer.records), [Status::STALE_HANDLE; 2]);
    assert!(answer.header.epoch > epoch, "{} after {epoch}", answer.header.epoch);
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).status, Status::OK);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn before_its_first_call_a_vcpu_reads_that_nothing_was_answered() {
    // C3
    let fixture = ServiceFixture::enabled();
    assert_eq!(fixture.service.last_status(0), Status::OK);
    fixture.service.reset();
    assert_eq!(fixture.service.last_status(0), Status::PENDING);
}

#[test]
fn what_was_trapped_is_as_after_power_on() {
    let fixture = ServiceFixture::new();
    fixture.live(0, 2, 1, 0x41);
    fixture.control(0, 1 << 15);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(1, 0x41)]);
    fixture.service.reset();
    fixture.assert_baseline();
    assert_eq!(fixture.entry(0, 2), Some([0, 0, 0, 1]));
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), []);
}
