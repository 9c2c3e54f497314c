//! Batches: partial and whole, split and refused.

use super::*;
use crate::{BatchMode, EntryError, Error, Irte, NOT_MAPPED};
use pvir_abi::{Operation, Status};
use std::vec::Vec;

fn status(status: Status) -> EntryError {
    EntryError::Status(status.result().unwrap_err())
}

#[test]
fn a_batch_longer_than_one_call_is_split() {
    let host = host();
    let remapping = enabled_with(&host, 100);
    let requests: Vec<_> = (0..2048).map(msix).collect();
    let mut results: Vec<_> = requests.iter().map(|_| NOT_MAPPED).collect();
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::Partial), Ok(2048));
    assert_eq!(host.calls().iter().filter(|call| **call == Operation::MAP).count(), 21);

    let mut irtes: Vec<Irte> = results.into_iter().map(Result::unwrap).collect();
    let targets: Vec<_> = (0..2048).map(|n| Target::fixed(n % 64, 0x70)).collect();
    let mut moved = [Err(EntryError::NotAsked); 2048];
    assert_eq!(remapping.retarget_batch(&mut irtes, &targets, &mut moved, BatchMode::Partial), Ok(2048));
    assert!(irtes.iter().zip(&targets).all(|(irte, target)| irte.target() == *target));

    let mut irtes: Vec<_> = irtes.into_iter().map(Some).collect();
    let mut gone = [Err(EntryError::NotAsked); 2048];
    assert_eq!(remapping.unmap_batch(&mut irtes, &mut gone, BatchMode::Partial), Ok(2048));
    assert!(irtes.iter().all(Option::is_none));
    assert_eq!(host.held(), 0);
}

#[test]
fn all_or_nothing_longer_than_one_call_is_refused_before_anything_is_asked() {
    let host = host();
    let remapping = enabled_with(&host, 2);
    let requests = [msix(0), msix(1), msix(2)];
    let mut results = [NOT_MAPPED, NOT_MAPPED, NOT_MAPPED];
    let refused = remapping.map_batch(&requests, &mut results, BatchMode::AllOrNothing);
    assert_eq!(refused, Err(Error::TooMany { requested: 3, max: 2 }));
    assert!(!host.calls().contains(&Operation::MAP));
}

#[test]
fn the_hosts_limit_is_kept_also_with_a_larger_block() {
    let host = host();
    host.set_max_records(3);
    let remapping = enabled_with(&host, 512);
    assert_eq!(remapping.max_entries_per_call(), 3);
    let requests = [0, 1, 2, 3].map(msix);
    let mut results = [const { NOT_MAPPED }; 4];
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::Partial), Ok(4));
}

#[test]
fn a_partial_grant_tells_which_entries_failed_and_why() {
    let (_host, remapping) = enabled();
    let bad = MapRequest::new(Origin::msix(DEVICE, ENTRIES), Target::Parked);
    let requests = [msix(0), bad, msix(2)];
    let mut results = [const { NOT_MAPPED }; 3];
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::Partial), Ok(2));
    assert_eq!(results[1], Err(status(Status::BAD_INDEX)));
    assert_eq!(results[2].as_ref().unwrap().origin().index, 2);
}

#[test]
fn an_aborted_batch_tells_which_entry_spoiled_it() {
    let (host, remapping) = enabled();
    let bad = MapRequest::new(Origin::msix(DEVICE, 1), Target::fixed(1, 5));
    let mut results = [const { NOT_MAPPED }; 2];
    let aborted = Error::Status { operation: Operation::MAP, status: Status::ABORTED.result().unwrap_err() };
    assert_eq!(remapping.map_batch(&[msix(0), bad], &mut results, BatchMode::AllOrNothing), Err(aborted));
    assert_eq!(results, [Err(status(Status::ABORTED)), Err(status(Status::BAD_VECTOR))]);
    assert_eq!(host.held(), 0);
}

#[test]
fn an_aborted_retarget_leaves_the_targets() {
    let (_host, remapping) = enabled();
    let mut irtes = [remapping.map(msix(0)).unwrap(), remapping.map(msix(1)).unwrap()];
    let mut results = [Err(EntryError::NotAsked); 2];
    let targets = [Target::fixed(2, 0x61), Target::fixed(u32::MAX, 0x61)];
    assert!(remapping.retarget_batch(&mut irtes, &targets, &mut results, BatchMode::AllOrNothing).is_err());
    assert_eq!(results, [Err(status(Status::ABORTED)), Err(status(Status::BROADCAST))]);
    assert_eq!(irtes[0].target(), Target::fixed(1, 0x51));
}

#[test]
fn a_batch_that_cannot_be_asked_is_not() {
    let (host, remapping) = enabled();
    let calls = host.calls().len();
    let mut one = [NOT_MAPPED];
    let lengths = Error::LengthMismatch { requests: 2, others: 1 };
    assert_eq!(remapping.map_batch(&[msix(0), msix(1)], &mut one, BatchMode::Partial), Err(lengths));
    let mut two = [const { NOT_MAPPED }; 2];
    let twice = Error::DuplicateEntry { origin: Origin::msix(DEVICE, 0) };
    assert_eq!(remapping.map_batch(&[msix(0), msix(0)], &mut two, BatchMode::Partial), Err(twice));
    assert_eq!(remapping.map_batch(&[], &mut [], BatchMode::AllOrNothing), Ok(0));
    assert_eq!(host.calls().len(), calls);
}

#[test]
fn a_place_that_holds_an_irte_is_not_overwritten() {
    let (_host, remapping) = enabled();
    let mut results = [Ok(remapping.map(msix(0)).unwrap())];
    let refused = remapping.map_batch(&[msix(1)], &mut results, BatchMode::Partial);
    assert_eq!(refused, Err(Error::ResultInUse { index: 0 }));
    assert!(results[0].is_ok());
}

#[test]
fn unmapping_keeps_what_the_host_did_not_take() {
    let (host, remapping) = enabled();
    let irte = remapping.map(msix(0)).unwrap();
    let again = remapping.map(msix(0)).unwrap();
    let other = remapping.map(msix(1)).unwrap();
    let mut irtes = [Some(irte), Some(again), Some(other)];
    let mut results = [Err(EntryError::NotAsked); 3];
    assert_eq!(remapping.unmap_batch(&mut irtes, &mut results, BatchMode::Partial), Ok(2));
    assert_eq!(results, [Ok(()), Err(status(Status::STALE_HANDLE)), Ok(())]);
    assert!(irtes[0].is_none() && irtes[1].is_some() && irtes[2].is_none());
    assert_eq!(host.held(), 0);
}

#[test]
fn any_mix_of_devices_goes_in_one_call() {
    let (host, remapping) = enabled();
    let requests = [
        msix(0),
        MapRequest::new(Origin::msix(OTHER, 0), Target::Parked),
        MapRequest::new(Origin::ims(DEVICE, 9), Target::Parked),
    ];
    let mut results = [const { NOT_MAPPED }; 3];
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::AllOrNothing), Ok(3));
    assert_eq!(host.calls().iter().filter(|call| **call == Operation::MAP).count(), 1);
    let origins = requests.map(|request| request.origin);
    let mut held = [Err(EntryError::NotAsked); 3];
    assert_eq!(remapping.query_batch(&origins, &mut held), Ok(3));
    assert_eq!(held.map(|held| held.unwrap().target), requests.map(|request| request.target));
}
