//! What there is only so much of.

use super::*;
use crate::fake::Kind;

fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = config();
    change(&mut config);
    let bench = Bench::with(&config);
    bench.enable();
    bench
}

fn granted_of_ten(bench: &Bench) -> (usize, Status) {
    let answer = bench.map(&batch(0..10));
    let granted = answer.records.iter().take_while(|r| r.status == Status::OK).count();
    assert_eq!(answer.header.done as usize, granted, "O4: the first ones");
    let rest: std::collections::BTreeSet<_> = answer.records[granted..].iter().map(|r| r.status.0).collect();
    assert_eq!(rest.len(), 1);
    (granted, answer.records[9].status)
}

#[test]
fn the_quota_of_a_device_grants_the_first_ones() {
    // O4
    let bench = bench(|c| c.max_irtes_per_device = 4);
    assert_eq!(granted_of_ten(&bench), (4, Status::NO_QUOTA));
    assert_eq!(bench.map(&[routed(1, 0, 0, 0x40)]).status, Status::OK, "another device has its own");
}

#[test]
fn the_quota_of_the_vm_grants_the_first_ones() {
    let bench = bench(|c| c.max_irtes = 6);
    assert_eq!(granted_of_ten(&bench), (6, Status::NO_QUOTA));
    assert_eq!(bench.map(&[routed(1, 0, 0, 0x40)]).records[0].status, Status::NO_QUOTA);
}

#[test]
fn exhausted_gsis_grant_the_first_ones_and_come_back() {
    let bench = bench(|c| c.first_gsi = 4093);
    assert_eq!(bench.features().max_irtes, 3);
    assert_eq!(granted_of_ten(&bench), (3, Status::NO_QUOTA));
    let held: Vec<_> = bench.query(&batch_queries(3)).records.iter().map(named).collect();
    assert_eq!(bench.unmap(&held).status, Status::OK);
    assert_eq!(granted_of_ten(&bench), (3, Status::NO_QUOTA));
}

fn batch_queries(count: u32) -> Vec<Entry> {
    (0..count).map(|index| query_of(0, index)).collect()
}

#[test]
fn with_the_flag_a_limit_aborts() {
    let bench = bench(|c| c.max_irtes = 6);
    let before = bench.state();
    let answer = bench.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &batch(0..10));
    assert_eq!(answer.status, Status::ABORTED);
    assert_eq!(answer.records[6].status, Status::NO_QUOTA);
    assert_eq!(bench.state(), before);
    bench.assert_baseline();
}

#[test]
fn a_host_that_runs_out_of_vectors_grants_the_first_ones() {
    // The run of ten fails, then each by itself until there are none left.
    let bench = Bench::enabled();
    let mut world = bench.world.lock();
    world.faults.fail_once(Some(Kind::Start), 0, libc::ENOSPC);
    world.faults.fail_from(Some(Kind::Start), 5, libc::ENOSPC);
    drop(world);
    assert_eq!(granted_of_ten(&bench), (4, Status::NO_HOST_VECTOR));
    bench.world.lock().faults.clear();
    let before = bench.state();
    assert_eq!((before.world.routes.len(), before.world.irqfds.len(), before.world.started.len()), (4, 4, 4));
    assert_eq!(bench.map(&batch(4..10)).status, Status::OK);
}

#[test]
fn a_pair_that_cannot_be_trusted_is_not_given() {
    let bench = Bench::enabled();
    bench.world.lock().faults.fail_once(Some(Kind::Pair), 1, libc::EBADMSG);
    let answer = bench.map(&batch(0..3));
    assert_eq!(statuses(&answer.records), [Status::OK, Status::BAD_PAIR, Status::OK]);
    assert_eq!((answer.records[1].handle, answer.records[1].address), (Handle::NONE, 0), "O5");
    assert_eq!(bench.world.lock().footprint().started.len(), 2);
}

#[test]
fn no_gsi_at_all_is_an_error_of_the_vmm() {
    for (first_gsi, max_irtes) in [(4096, 10), (u32::MAX, 1), (24, 0)] {
        let config = Config { first_gsi, max_irtes, ..config() };
        let router = Box::new(FakeKvm::new(SharedWorld::new(24)));
        let ram = Arc::new(GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
        assert!(matches!(Service::new(&config, ram, router), Err(SetupError::NoGsi { .. })));
    }
}
