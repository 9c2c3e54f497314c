//! What there is only so much of.

use super::*;
use crate::fake::CallKind;

fn fixture(change: impl FnOnce(&mut Config)) -> ServiceFixture {
    let mut config = config();
    change(&mut config);
    let fixture = ServiceFixture::with(&config);
    fixture.enable();
    fixture
}

fn granted_of_ten(fixture: &ServiceFixture) -> (usize, Status) {
    let answer = fixture.map(&batch(0..10));
    let granted = answer.records.iter().take_while(|r| r.status == Status::OK).count();
    assert_eq!(answer.header.done as usize, granted, "O4: the first ones");
    let rest: std::collections::BTreeSet<_> = answer.records[granted..].iter().map(|r| r.status.0).collect();
    assert_eq!(rest.len(), 1);
    (granted, answer.records[9].status)
}

#[test]
fn the_quota_of_a_device_grants_the_first_ones() {
    // O4
    let fixture = fixture(|c| c.max_irtes_per_device = 4);
    assert_eq!(granted_of_ten(&fixture), (4, Status::NO_QUOTA));
    assert_eq!(fixture.map(&[routed(1, 0, 0, 0x40)]).status, Status::OK, "another device has its own");
}

#[test]
fn the_quota_of_the_vm_grants_the_first_ones() {
    let fixture = fixture(|c| c.max_irtes = 6);
    assert_eq!(granted_of_ten(&fixture), (6, Status::NO_QUOTA));
    assert_eq!(fixture.map(&[routed(1, 0, 0, 0x40)]).records[0].status, Status::NO_QUOTA);
}

#[test]
fn exhausted_gsis_grant_the_first_ones_and_come_back() {
    let fixture = fixture(|c| c.first_gsi = 4093);
    assert_eq!(fixture.features().max_irtes, 3);
    assert_eq!(granted_of_ten(&fixture), (3, Status::NO_QUOTA));
    let held: Vec<_> = fixture.query(&batch_queries(3)).records.iter().map(named).collect();
    assert_eq!(fixture.unmap(&held).status, Status::OK);
    assert_eq!(granted_of_ten(&fixture), (3, Status::NO_QUOTA));
}

fn batch_queries(count: u32) -> Vec<EntryRecord> {
    (0..count).map(|index| query_of(0, index)).collect()
}

#[test]
fn with_the_flag_a_limit_aborts() {
    let fixture = fixture(|c| c.max_irtes = 6);
    let before = fixture.state();
    let answer = fixture.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &batch(0..10));
    assert_eq!(answer.status, Status::ABORTED);
    assert_eq!(answer.records[6].status, Status::NO_QUOTA);
    assert_eq!(fixture.state(), before);
    fixture.assert_baseline();
}

#[test]
fn a_host_that_runs_out_of_vectors_grants_the_first_ones() {
    // The run of ten fails, then each by itself until there are none left.
    let fixture = ServiceFixture::enabled();
    let mut platform = fixture.platform.lock();
    platform.faults.fail_once(Some(CallKind::Start), 0, libc::ENOSPC);
    platform.faults.fail_from(Some(CallKind::Start), 5, libc::ENOSPC);
    drop(platform);
    assert_eq!(granted_of_ten(&fixture), (4, Status::NO_HOST_VECTOR));
    fixture.platform.lock().faults.clear();
    let before = fixture.state();
    assert_eq!(
        (before.platform.routes.len(), before.platform.irqfds.len(), before.platform.started.len()),
        (4, 4, 4)
    );
    assert_eq!(fixture.map(&batch(4..10)).status, Status::OK);
}

#[test]
fn a_pair_that_cannot_be_trusted_is_not_given() {
    let fixture = ServiceFixture::enabled();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Pair), 1, libc::EBADMSG);
    let answer = fixture.map(&batch(0..3));
    assert_eq!(statuses(&answer.records), [Status::OK, Status::BAD_PAIR, Status::OK]);
    assert_eq!((answer.records[1].handle, answer.records[1].address), (Handle::NONE, 0), "O5");
    assert_eq!(fixture.platform.lock().footprint().started.len(), 2);
}

#[test]
fn no_gsi_at_all_is_an_error_of_the_vmm() {
    for (first_gsi, max_irtes) in [(4096, 10), (u32::MAX, 1), (24, 0)] {
        let config = Config { first_gsi, max_irtes, ..config() };
        let router = Box::new(FakeKvm::new(SharedPlatform::new(24)));
        let ram = Arc::new(GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
        assert!(matches!(Service::new(&config, ram, router), Err(SetupError::NoGsi { .. })));
    }
}

/// Entries of the largest table.
const LARGEST: u32 = 2048;

/// Maps all of a device of the largest table; answers with the status of each entry.
fn map_largest(fixture: &ServiceFixture, number: u8) -> Vec<Status> {
    let asked: Vec<_> = (0..LARGEST).map(|index| routed(number, index, 1, 0x51)).collect();
    asked.chunks(512).flat_map(|call| statuses(&fixture.map(call).records)).collect()
}

/// Two devices of the largest table, after the first has got all that it has.
fn two_largest() -> ServiceFixture {
    // Each interrupt has an eventfd, and the fakes have a second descriptor of it.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(descriptors > 10_000, "this test needs 10000 open files: only {descriptors} are allowed");
    let fixture = ServiceFixture::new();
    for number in [3, 4] {
        fixture.add(number, FakeDevice::new(fixture.platform.clone(), number.into(), LARGEST));
    }
    fixture.enable();
    assert_eq!(map_largest(&fixture, 3), vec![Status::OK; LARGEST as usize]);
    fixture
}

/// The second was granted the first `granted` entries; what the first device has works as before.
fn assert_granted(fixture: &ServiceFixture, of_second: &[Status], granted: usize, then: Status) {
    assert!(of_second[..granted].iter().all(|status| *status == Status::OK));
    assert_eq!(of_second[granted..], vec![then; LARGEST as usize - granted]);
    assert_eq!(fixture.features().irtes as usize, LARGEST as usize + granted);
    for index in [0, 1000, LARGEST - 1] {
        fixture.unmask(3, index);
        fixture.raise(3, index);
        assert_eq!(fixture.delivered(), [(1, 0x51)]);
    }
}

#[test]
fn a_second_device_gets_what_the_gsis_leave_and_the_first_is_unharmed() {
    let fixture = two_largest();
    let of_second = map_largest(&fixture, 4);
    assert_granted(&fixture, &of_second, 4072 - LARGEST as usize, Status::NO_QUOTA);
    // Messages are counted as many: none of them fits, and one entry less makes room for one.
    assert_eq!(statuses(&fixture.map(&[messages(2, 0, 0x40)]).records), [Status::NO_QUOTA]);
    let held = fixture.query(&[query_of(4, 0)]).records[0];
    fixture.unmap(&[named(&held)]);
    let asked = [messages(2, 0, 0x40), messages(1, 0, 0x40)];
    assert_eq!(statuses(&fixture.map(&asked).records), [Status::NO_QUOTA, Status::OK]);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn a_second_device_gets_what_the_host_has_left_and_the_first_is_unharmed() {
    let fixture = two_largest();
    fixture.platform.lock().limit_vectors(LARGEST as usize + 700);
    let of_second = map_largest(&fixture, 4);
    assert_granted(&fixture, &of_second, 700, Status::NO_HOST_VECTOR);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn gsis_that_would_not_come_back_are_missing() {
    // The quota counts what the guest holds; what is stuck in the kernel is the host's loss.
    let fixture = fixture(|c| c.max_irtes = 4);
    let mapped = fixture.map(&[messages(2, 0, 0x40)]).records[0];
    fixture.platform.lock().faults.fail_from(Some(CallKind::Detach), 0, libc::EIO);
    fixture.unmap(&[named(&mapped)]);
    let answer = fixture.map(&batch(0..4));
    assert_eq!(statuses(&answer.records), [Status::OK, Status::OK, Status::NO_GSI, Status::NO_GSI]);
    fixture.platform.lock().faults.clear();
    assert_eq!(fixture.map(&batch(2..4)).status, Status::OK);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn messages_that_do_not_all_get_a_gsi_leave_none_behind() {
    let fixture = fixture(|c| c.max_irtes = 4);
    let mapped = fixture.map(&[messages(2, 0, 0x40)]).records[0];
    fixture.platform.lock().faults.fail_from(Some(CallKind::Detach), 0, libc::EIO);
    fixture.unmap(&[named(&mapped)]);
    // Two GSIs are stuck, and one is taken: the first of two messages gets the last one.
    assert_eq!(fixture.map(&batch(0..1)).status, Status::OK);
    assert_eq!(statuses(&fixture.map(&[messages(2, 0, 0x40)]).records), [Status::NO_GSI]);
    assert_eq!(fixture.map(&batch(1..2)).status, Status::OK, "and has given it back");
    fixture.platform.lock().faults.clear();
    fixture.disable();
    fixture.assert_baseline();
}

fn refused(change: impl FnOnce(&mut Config)) -> SetupError {
    let mut config = config();
    change(&mut config);
    let ram: Arc<GuestMemoryMmap> =
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
    Service::new(&config, ram, Box::new(FakeKvm::new(SharedPlatform::new(FIRST_GSI)))).err().unwrap()
}

#[test]
fn a_conduit_that_no_guest_would_use_is_refused() {
    // D5
    let error = refused(|c| c.msr = 0xc000_0082);
    assert!(matches!(error, SetupError::MsrOutOfRange(0xc000_0082)));
    assert!(error.to_string().contains("0xc0000082") && error.to_string().contains("0x50560000"), "{error}");
    assert!(matches!(refused(|c| c.port = 0x5056), SetupError::PortOutOfRange(0x5056)));
    let without = |c: &mut Config| (c.conduits, c.msr) = (Conduits::PORT, 0xc000_0082);
    assert_eq!(fixture(without).service.discovery().msr, 0, "ignored without the conduit");
}
