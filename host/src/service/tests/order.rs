//! What a call costs: exactly which calls of the kernel it makes, and in which order.

use super::*;
use crate::fake::{BackendCall, CallKind};

fn counts(fixture: &ServiceFixture) -> Vec<(CallKind, usize)> {
    let platform = fixture.platform.lock();
    CallKind::ALL
        .into_iter()
        .map(|kind| (kind, platform.count(kind)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn a_map_of_one_is_route_irqfd_interrupt_mask_pair() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 0, 0x51)]);
    let at = place(0, 3);
    let expected = [
        BackendCall::SetRoutes(1),
        BackendCall::Attach(FIRST_GSI),
        BackendCall::Start(at, 1),
        BackendCall::Mask(at),
        BackendCall::Pair(at),
    ];
    assert_eq!(fixture.platform.lock().calls(), expected);
}

#[test]
fn an_unmap_of_one_is_the_reverse() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmap(&[named(&mapped)]);
    let expected =
        [BackendCall::Stop(place(0, 3), 1), BackendCall::Detach(FIRST_GSI), BackendCall::SetRoutes(0)];
    assert_eq!(fixture.platform.lock().calls(), expected);
}

#[test]
fn a_map_of_ten_is_one_routing_ten_irqfds_and_one_start() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&batch(0..10));
    let expected = [
        (CallKind::SetRoutes, 1),
        (CallKind::Attach, 10),
        (CallKind::Start, 1),
        (CallKind::Pair, 10),
        (CallKind::Mask, 10),
    ];
    assert_eq!(counts(&fixture), expected);
}

#[test]
fn a_map_of_ten_in_three_ranges_is_three_starts() {
    let fixture = ServiceFixture::enabled();
    let asked: Vec<_> = batch(20..24).into_iter().rev().chain(batch(2..6)).chain(batch(0..1)).collect();
    fixture.map(&asked);
    let platform = fixture.platform.lock();
    let starts: Vec<_> =
        platform.calls().iter().filter(|call| call.kind() == CallKind::Start).copied().collect();
    let expected = [(0, 1), (2, 4), (20, 4)].map(|(first, count)| BackendCall::Start(place(0, first), count));
    assert_eq!(starts, expected);
    assert_eq!(platform.count(CallKind::SetRoutes), 1);
}

#[test]
fn a_retarget_of_ten_is_one_routing_and_nothing_else() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&batch(0..10)).records;
    fixture.retarget(&mapped.iter().map(|entry| moved(entry, 300, 0x99)).collect::<Vec<_>>());
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::SetRoutes(10)]);
}

#[test]
fn a_retarget_to_the_same_place_costs_nothing() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&batch(0..10)).records;
    let same: Vec<_> =
        mapped.iter().map(|entry| moved(entry, entry.routing.destination, entry.routing.vector)).collect();
    assert_eq!(fixture.retarget(&same).status, Status::OK);
    assert!(fixture.platform.lock().calls().is_empty());
}

#[test]
fn an_unmap_of_ten_is_one_stop_ten_irqfds_and_one_routing() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&batch(0..10)).records;
    fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(counts(&fixture), [(CallKind::SetRoutes, 1), (CallKind::Detach, 10), (CallKind::Stop, 1)]);
}

#[test]
fn a_disable_of_ten_is_an_unmap_of_ten_and_closes_the_tables() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&batch(0..10));
    fixture.disable();
    let expected =
        [(CallKind::SetRoutes, 1), (CallKind::Detach, 10), (CallKind::Stop, 1), (CallKind::Close, 3)];
    assert_eq!(counts(&fixture), expected);
}

#[test]
fn questions_and_refused_records_cost_nothing() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&batch(0..10));
    fixture.query(&[query_of(0, 1), query_of(0, 40)]);
    assert_eq!(counts(&fixture), []);
    fixture.features();
    assert_eq!(counts(&fixture), []);
    fixture.map(&[routed(0, 50, 0, 5), routed(0, 64, 0, 50)]);
    assert_eq!(counts(&fixture), []);
}

#[test]
fn the_fake_sees_a_breach_of_the_order() {
    // The test of the tests: what the service never does is noticed.
    let platform = SharedPlatform::new(FIRST_GSI);
    let eventfd = crate::eventfd::EventFd::new().unwrap();
    let mut fake = FakeDevice::new(platform.clone(), 0, 4);
    let mut kvm = FakeKvm::new(platform.clone());
    let breaches = |platform: &SharedPlatform| platform.lock().violations().len();
    assert!(kvm.attach(&eventfd, FIRST_GSI).is_ok());
    assert_eq!(breaches(&platform), 1, "no route");
    assert!(kvm.attach(&eventfd, FIRST_GSI + 1).is_err());
    assert_eq!(breaches(&platform), 3, "no route, and attached already");
    assert!(fake.start(Store::MSIX, 0, &[&eventfd]).is_ok());
    assert_eq!(breaches(&platform), 4, "not open");
    assert_eq!(platform.lock().check().len(), 4 + 3, "an irqfd without route, unmasked, not open");
    assert!(fake.pair(Store::MSIX, 1).is_err());
    assert_eq!(breaches(&platform), 6, "not open, not started");
    platform.lock().expect(Some(Operation::UNMAP));
    assert!(kvm.detach(&eventfd, FIRST_GSI).is_ok());
    assert_eq!(breaches(&platform), 7, "not stopped");
    platform.lock().expect(Some(Operation::RETARGET));
    assert!(fake.stop(Store::MSIX, 0, 1).is_ok());
    assert_eq!(breaches(&platform), 9, "not open, and RETARGET");
    let two = [eventfd.try_clone().unwrap(), crate::eventfd::EventFd::new().unwrap()];
    fake_msi_breaches(&two);
    platform.lock().allow(CallKind::Detach, 0);
    assert!(kvm.detach(&eventfd, 7).is_ok());
    assert_eq!(breaches(&platform), 11, "not attached, and too many");
}

/// What an MSI capability and a backing cannot do is noticed, too.
fn fake_msi_breaches(eventfds: &[crate::eventfd::EventFd; 2]) {
    let platform = SharedPlatform::new(FIRST_GSI);
    let breaches = |platform: &SharedPlatform| platform.lock().violations().len();
    let mut msi = FakeDevice::with_msi(platform.clone(), 0, 8);
    let mut backed = FakeDevice::new(platform.clone(), 1, 4).with_backed_ims();
    msi.open().unwrap();
    backed.open().unwrap();
    let [one, other] = eventfds.each_ref();
    assert!(msi.start(Store::MSI, 1, &[one]).is_err());
    assert_eq!(breaches(&platform), 1, "not from the first on");
    assert!(msi.start(Store::MSI, 0, &[one, other, one]).is_err());
    assert_eq!(breaches(&platform), 3, "three, and an eventfd twice");
    assert!(msi.start(Store::MSI, 0, &[one, other]).is_ok());
    assert!(msi.stop(Store::MSI, 0, 1).is_ok());
    assert_eq!(breaches(&platform), 4, "not all of them stopped");
    assert!(msi.stop(Store::MSI, 0, 2).is_ok());
    assert_eq!(breaches(&platform), 6, "one of them is stopped already");
    assert!(backed.start(Store::IMS, 1, &[one]).is_ok());
    assert!(backed.start(Store::MSIX, 2, &[other]).is_ok());
    assert_eq!(breaches(&platform), 7, "the interrupt of the other");
}
