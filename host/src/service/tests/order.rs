//! What a call costs: exactly which calls of the kernel it makes, and in which order.

use super::*;
use crate::fake::{Call, Kind};

fn counts(bench: &Bench) -> Vec<(Kind, usize)> {
    let world = bench.world.lock();
    Kind::ALL.into_iter().map(|kind| (kind, world.count(kind))).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_map_of_one_is_route_irqfd_interrupt_mask_pair() {
    let bench = Bench::enabled();
    bench.map(&[routed(0, 3, 0, 0x51)]);
    let at = place(0, 3);
    let expected =
        [Call::SetRoutes(1), Call::Attach(FIRST_GSI), Call::Start(at, 1), Call::Mask(at), Call::Pair(at)];
    assert_eq!(bench.world.lock().calls(), expected);
}

#[test]
fn an_unmap_of_one_is_the_reverse() {
    let bench = Bench::enabled();
    let mapped = bench.map(&[routed(0, 3, 0, 0x51)]).records[0];
    bench.unmap(&[named(&mapped)]);
    let expected = [Call::Stop(place(0, 3), 1), Call::Detach(FIRST_GSI), Call::SetRoutes(0)];
    assert_eq!(bench.world.lock().calls(), expected);
}

#[test]
fn a_map_of_ten_is_one_routing_ten_irqfds_and_one_start() {
    let bench = Bench::enabled();
    bench.map(&batch(0..10));
    let expected =
        [(Kind::SetRoutes, 1), (Kind::Attach, 10), (Kind::Start, 1), (Kind::Pair, 10), (Kind::Mask, 10)];
    assert_eq!(counts(&bench), expected);
}

#[test]
fn a_map_of_ten_in_three_ranges_is_three_starts() {
    let bench = Bench::enabled();
    let asked: Vec<_> = batch(20..24).into_iter().rev().chain(batch(2..6)).chain(batch(0..1)).collect();
    bench.map(&asked);
    let world = bench.world.lock();
    let starts: Vec<_> = world.calls().iter().filter(|call| call.kind() == Kind::Start).copied().collect();
    let expected = [(0, 1), (2, 4), (20, 4)].map(|(first, count)| Call::Start(place(0, first), count));
    assert_eq!(starts, expected);
    assert_eq!(world.count(Kind::SetRoutes), 1);
}

#[test]
fn a_retarget_of_ten_is_one_routing_and_nothing_else() {
    let bench = Bench::enabled();
    let mapped = bench.map(&batch(0..10)).records;
    bench.retarget(&mapped.iter().map(|entry| moved(entry, 300, 0x99)).collect::<Vec<_>>());
    assert_eq!(bench.world.lock().calls(), [Call::SetRoutes(10)]);
}

#[test]
fn a_retarget_to_the_same_place_costs_nothing() {
    let bench = Bench::enabled();
    let mapped = bench.map(&batch(0..10)).records;
    let same: Vec<_> =
        mapped.iter().map(|entry| moved(entry, entry.routing.destination, entry.routing.vector)).collect();
    assert_eq!(bench.retarget(&same).status, Status::OK);
    assert!(bench.world.lock().calls().is_empty());
}

#[test]
fn an_unmap_of_ten_is_one_stop_ten_irqfds_and_one_routing() {
    let bench = Bench::enabled();
    let mapped = bench.map(&batch(0..10)).records;
    bench.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    assert_eq!(counts(&bench), [(Kind::SetRoutes, 1), (Kind::Detach, 10), (Kind::Stop, 1)]);
}

#[test]
fn a_disable_of_ten_is_an_unmap_of_ten_and_closes_the_tables() {
    let bench = Bench::enabled();
    bench.map(&batch(0..10));
    bench.disable();
    let expected = [(Kind::SetRoutes, 1), (Kind::Detach, 10), (Kind::Stop, 1), (Kind::Close, 3)];
    assert_eq!(counts(&bench), expected);
}

#[test]
fn questions_and_refused_records_cost_nothing() {
    let bench = Bench::enabled();
    bench.map(&batch(0..10));
    bench.query(&[query_of(0, 1), query_of(0, 40)]);
    assert_eq!(counts(&bench), []);
    bench.features();
    assert_eq!(counts(&bench), []);
    bench.map(&[routed(0, 50, 0, 5), routed(0, 64, 0, 50)]);
    assert_eq!(counts(&bench), []);
}

#[test]
fn the_fake_sees_a_breach_of_the_order() {
    // The test of the tests: what the service never does is noticed.
    let world = SharedWorld::new(FIRST_GSI);
    let eventfd = vmm_sys_util::eventfd::EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let mut fake = FakeDevice::new(world.clone(), 0, 4);
    let mut kvm = FakeKvm::new(world.clone());
    let breaches = |world: &SharedWorld| world.lock().violations().len();
    assert!(kvm.attach(&eventfd, FIRST_GSI).is_ok());
    assert_eq!(breaches(&world), 1, "no route");
    assert!(kvm.attach(&eventfd, FIRST_GSI + 1).is_err());
    assert_eq!(breaches(&world), 3, "no route, and attached already");
    assert!(fake.start(Store::MSIX, 0, &[&eventfd]).is_ok());
    assert_eq!(breaches(&world), 4, "not open");
    assert_eq!(world.lock().check().len(), 4 + 3, "an irqfd without route, unmasked, not open");
    assert!(fake.pair(Store::MSIX, 1).is_err());
    assert_eq!(breaches(&world), 6, "not open, not started");
    world.lock().expect(Some(Operation::UNMAP));
    assert!(kvm.detach(&eventfd, FIRST_GSI).is_ok());
    assert_eq!(breaches(&world), 7, "not stopped");
    world.lock().expect(Some(Operation::RETARGET));
    assert!(fake.stop(Store::MSIX, 0, 1).is_ok());
    assert_eq!(breaches(&world), 9, "not open, and RETARGET");
    world.lock().allow(Kind::Detach, 0);
    assert!(kvm.detach(&eventfd, 7).is_ok());
    assert_eq!(breaches(&world), 11, "not attached, and too many");
}
