//! The real KVM with irqfds that are attached to GSIs which get their first route later.

use super::*;

fn arm(fixture: &KvmFixture, expected: u64) {
    fixture.service.arm_ahead();
    assert_eq!(
        (fixture.service.armed_ahead() as u64, fixture.ioctls("KVM_IRQFD (ahead)")),
        (expected, expected)
    );
}

#[test]
fn an_irqfd_armed_ahead_delivers_by_the_route_that_came_later() {
    let Some(fixture) = fixture_with(None, 512) else { return };
    arm(&fixture, 16);
    let routings = [(0, 0, 0x51), (1, 300, 0x52), (2, 1, 0xef)];
    let asked: Vec<_> = routings.map(|(index, to, vector)| routed(index, to, vector)).into();
    let (status, mapped) = fixture.call(Operation::MAP, &asked);
    assert_eq!(status, Status::OK);
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD")), (1, 0));
    for record in &mapped {
        fixture.program(record.index, record.pair());
        fixture.device.raise(record.index);
    }
    fixture.assert_arrives(&[(0, 0x51), (1, 0xef), (300, 0x52)]);
    fixture.one(Operation::RETARGET, routed(0, 300, 0x60).with_handle(mapped[0].handle));
    fixture.device.raise(0);
    fixture.assert_arrives(&[(0, 0x51), (1, 0xef), (300, 0x52), (300, 0x60)]);
}

#[test]
fn each_irqfd_is_taken_off_once() {
    let Some(fixture) = fixture_with(None, 512) else { return };
    arm(&fixture, 16);
    let asked: Vec<_> = (0..16).map(|index| routed(index, 1, 0x40)).collect();
    let (_, mapped) = fixture.call(Operation::MAP, &asked);
    let given_back: Vec<_> = mapped
        .iter()
        .map(|r| EntryRecord::query(device(), Store::MSIX, r.index).with_handle(r.handle))
        .collect();
    assert_eq!(fixture.call(Operation::UNMAP, &given_back).0, Status::OK);
    assert_eq!(fixture.ioctls("KVM_IRQFD (de-assign)"), 16);
    // An eventfd that is attached already would be refused with EBUSY, and a GSI that is still attached would deliver.
    for record in &mapped {
        fixture.program(record.index, record.pair());
        fixture.device.raise(record.index);
    }
    fixture.assert_nothing_more(&[]);
    assert_eq!(fixture.call(Operation::MAP, &asked).0, Status::OK);
}
