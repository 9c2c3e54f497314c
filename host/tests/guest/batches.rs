//! Batches: longer than one call, granted in part, and all or nothing.

use crate::kernel::status;
use crate::test_vm::{APIC_IDS, TestVm, config};
use pvir_guest::abi::Status;
use pvir_guest::{BatchMode, EntryError, Error, Irte, MapRequest, MapResult, NOT_MAPPED, Origin, Target};
use pvir_host::fake::CallKind;

/// Where entry `index` goes in these tests.
fn target(index: u32) -> Target {
    Target::fixed(APIC_IDS[index as usize % 3], 0x40 + u8::try_from(index % 64).unwrap())
}

fn requests(vm: &TestVm, indices: std::ops::Range<u32>) -> Vec<MapRequest> {
    let id = vm.functions[0].id;
    indices.map(|index| MapRequest::new(Origin::msix(id, index), target(index))).collect()
}

fn unmapped(count: usize) -> Vec<MapResult> {
    (0..count).map(|_| NOT_MAPPED).collect()
}

fn statuses<T>(results: &[Result<T, EntryError>]) -> Vec<Status> {
    results.iter().map(status).collect()
}

#[test]
fn a_batch_longer_than_the_block_takes_several_calls() {
    let mut vm = TestVm::empty(&config());
    vm.add_msix(1200, |device| device);
    for records in [512, 7] {
        let remapping = vm.negotiate(records).enable(crate::enabling::options()).unwrap();
        let asked = requests(&vm, 0..1200);
        let mut results = unmapped(asked.len());
        assert_eq!(remapping.map_batch(&asked, &mut results, BatchMode::Partial), Ok(1200));
        let mut irtes: Vec<Irte> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(vm.routes().len(), 1200);

        let moved: Vec<Target> = (0..1200).map(|_| Target::fixed(300, 0xee)).collect();
        let mut results = vec![Err(EntryError::NotAsked); 1200];
        assert_eq!(remapping.retarget_batch(&mut irtes, &moved, &mut results, BatchMode::Partial), Ok(1200));
        assert_eq!(vm.routes(), vec![(300, 0xee); 1200]);

        let mut tokens: Vec<_> = irtes.into_iter().map(Some).collect();
        assert_eq!(remapping.unmap_batch(&mut tokens, &mut results, BatchMode::Partial), Ok(1200));
        assert!(tokens.iter().all(Option::is_none));
        vm.assert_nothing_held();
        drop(remapping.disable().unwrap());
    }
    vm.assert_ends_clean();
}

#[test]
fn all_or_nothing_beyond_one_call_is_refused_before_anything_is_asked() {
    let vm = TestVm::new();
    let remapping = vm.negotiate(7).enable(crate::enabling::options()).unwrap();
    let mut results = unmapped(8);
    let refused = remapping.map_batch(&requests(&vm, 0..8), &mut results, BatchMode::AllOrNothing);
    assert_eq!(refused, Err(Error::TooMany { requested: 8, max: 7 }));
    vm.assert_nothing_held();
}

#[test]
fn a_partial_batch_is_granted_up_to_the_quota() {
    let mut vm = TestVm::empty(&config().with_max_irtes_per_device(5));
    vm.add_msix(16, |device| device);
    let remapping = vm.enable();
    let mut results = unmapped(8);
    assert_eq!(remapping.map_batch(&requests(&vm, 0..8), &mut results, BatchMode::Partial), Ok(5));
    assert_eq!(statuses(&results)[4..], [Status::OK, Status::NO_QUOTA, Status::NO_QUOTA, Status::NO_QUOTA]);
    assert_eq!(vm.routes().len(), 5, "statement O4");

    // All or nothing of as many leaves what is there alone.
    let mut more = unmapped(3);
    let aborted = remapping.map_batch(&requests(&vm, 8..11), &mut more, BatchMode::AllOrNothing);
    assert!(matches!(aborted, Err(Error::Status { status, .. }) if status.status() == Status::ABORTED));
    assert_eq!(statuses(&more), [Status::NO_QUOTA; 3]);
    assert_eq!(vm.routes().len(), 5);
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn a_host_out_of_vectors_grants_the_first_ones() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    vm.platform.lock().limit_vectors(3);
    let mut results = unmapped(6);
    let granted = remapping.map_batch(&requests(&vm, 0..6), &mut results, BatchMode::Partial).unwrap();
    assert_eq!((granted, vm.routes().len()), (3, 3));
    assert_eq!(statuses(&results)[3..], [Status::NO_HOST_VECTOR; 3]);
    drop((results, remapping));
    vm.assert_ends_clean();
}

#[test]
fn all_or_nothing_names_the_entry_that_failed() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let mut asked = requests(&vm, 0..4);
    asked[2].target = Target::fixed(2, 0x40);
    let mut results = unmapped(4);
    remapping.map_batch(&asked, &mut results, BatchMode::AllOrNothing).unwrap_err();
    let expected = [Status::ABORTED, Status::ABORTED, Status::BAD_DESTINATION, Status::ABORTED];
    assert_eq!(statuses(&results), expected, "statement O3");
    vm.assert_nothing_held();

    // Of a RETARGET too: every old target holds.
    let mut results = unmapped(3);
    remapping.map_batch(&requests(&vm, 0..3), &mut results, BatchMode::AllOrNothing).unwrap();
    let mut irtes: Vec<Irte> = results.into_iter().map(Result::unwrap).collect();
    let before = vm.routes();
    let moved = [Target::fixed(0, 0x80), Target::Parked, Target::fixed(1, 20)];
    let mut results = [Err(EntryError::NotAsked); 3];
    remapping.retarget_batch(&mut irtes, &moved, &mut results, BatchMode::AllOrNothing).unwrap_err();
    assert_eq!(statuses(&results), [Status::ABORTED, Status::ABORTED, Status::BAD_VECTOR]);
    assert_eq!((vm.routes(), irtes[1].target()), (before, target(1)));
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn a_fault_of_the_host_is_a_status_of_its_entry_and_the_session_goes_on() {
    for (kind, errno, status) in [
        (CallKind::Start, 5, Status::DEVICE_ERROR),
        (CallKind::Pair, 74, Status::BAD_PAIR),
        (CallKind::SetRoutes, 12, Status::HOST_ERROR),
    ] {
        let vm = TestVm::new();
        let remapping = vm.enable();
        vm.platform.lock().faults.fail_once(Some(kind), 0, errno);
        let request = requests(&vm, 0..1)[0];
        let error = remapping.map(request).unwrap_err();
        assert!(matches!(error, Error::Entry { status: s, .. } if s.status() == status), "{kind:?}: {error}");
        vm.assert_nothing_held();
        let irte = remapping.map(request).unwrap();
        remapping.unmap(irte).unwrap();
        drop(remapping);
        vm.assert_ends_clean();
    }
}
