//! A host that does not keep the contract, one wrong answer at a time.

use super::*;
use crate::{BatchMode, ContractViolation, EntryError, Error, Irte, IrteLedger, NOT_MAPPED};
use pvir_abi::{EventReason, Handle, Operation, Pair, Status};
use std::boxed::Box;

/// Length of a header and of a record.
const UNIT: usize = 64;

pub(super) fn put(block: &mut [u8], offset: usize, bytes: &[u8]) {
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Offset of a field of record `record`.
pub(super) fn at(record: usize, field: usize) -> usize {
    UNIT + record * UNIT + field
}

/// MAP of entries 0 and 1, answered as `tamper` changes it.
fn map_two(tamper: impl FnMut(&mut [u8], &mut Status) + Send + 'static) -> ContractViolation {
    let (host, remapping) = enabled();
    host.tamper(tamper);
    let mut results = [const { NOT_MAPPED }; 2];
    let error = remapping.map_batch(&[msix(0), msix(1)], &mut results, BatchMode::Partial).unwrap_err();
    assert_eq!(results, [const { Err(EntryError::ContractViolation) }; 2]);
    match error {
        Error::ContractViolation { operation: Operation::MAP, violation } => violation,
        other => panic!("{other}"),
    }
}

fn map_two_with(offset: usize, bytes: &'static [u8]) -> ContractViolation {
    map_two(move |block, _| put(block, offset, bytes))
}

#[test]
fn every_field_of_the_header_that_is_ours_must_come_back() {
    let fields =
        [(0, "magic"), (4, "version"), (6, "operation"), (8, "flags"), (12, "count"), (32, "reserved")];
    for (offset, field) in fields {
        assert_eq!(map_two_with(offset, &[0xee, 0x77]), ContractViolation::HeaderChanged { field });
    }
}

#[test]
fn every_field_of_a_record_that_is_ours_must_come_back() {
    let fields = [
        (0, "device"),
        (8, "store"),
        (10, "arch"),
        (12, "index"),
        (16, "count"),
        (20, "flags"),
        (32, "routing"),
        (36, "routing"),
        (40, "routing"),
    ];
    for (offset, field) in fields {
        assert_eq!(
            map_two_with(at(1, offset), &[0x5a]),
            ContractViolation::RecordChanged { record: 1, field }
        );
    }
}

#[test]
fn the_conduit_and_the_header_must_agree() {
    let (conduit, header) = (Status(0xffff_fc18), Status::OK);
    let error = map_two(move |_, status| *status = conduit);
    assert_eq!(error, ContractViolation::ConduitDisagrees { conduit, header });
}

#[test]
fn a_host_that_does_nothing_is_noticed() {
    let host = host();
    let remapping = enabled_with(&host, 4);
    let seen = Status(0xffff_fc18);
    host.tamper(move |block, status| {
        put(block, 16, &[0xff; 4]);
        *status = seen;
    });
    let violation = ContractViolation::ConduitDisagrees { conduit: seen, header: Status::PENDING };
    assert_eq!(
        remapping.map(msix(0)),
        Err(Error::ContractViolation { operation: Operation::MAP, violation })
    );
    let pending = map_two(|block, status| {
        put(block, 16, &[0xff; 4]);
        *status = Status::PENDING;
    });
    assert_eq!(pending, ContractViolation::CallPending);
}

#[test]
fn a_block_that_was_not_reached_is_a_status_and_not_nonsense() {
    let (host, remapping) = enabled();
    for status in [Status::BAD_ADDRESS, Status::UNALIGNED, Status::PRIVILEGE] {
        host.tamper(move |block, conduit| {
            put(block, 16, &[0xff; 4]);
            put(block, 20, &[0; 12]);
            *conduit = status;
        });
        let status = status.result().unwrap_err();
        assert_eq!(remapping.map(msix(0)), Err(Error::Status { operation: Operation::MAP, status }));
    }
}

#[test]
fn a_host_that_refuses_for_now_is_told_from_one_that_fails() {
    for (status, for_now) in [(Status::RATE_LIMITED, true), (Status::HOST_ERROR, false)] {
        let (host, remapping) = enabled();
        host.tamper(move |block, conduit| {
            put(block, 16, &status.0.to_le_bytes());
            put(block, 20, &[0; 4]);
            *conduit = status;
        });
        assert_eq!(remapping.map(msix(0)).unwrap_err().is_rate_limited(), for_now);
        assert_eq!(EntryError::Status(status.result().unwrap_err()).is_rate_limited(), for_now);
    }
    assert!(!EntryError::NotAsked.is_rate_limited());
}

#[test]
fn every_status_of_the_call_is_a_failure_but_ok_and_partial() {
    let known = Status::TABLE.iter().map(|row| row.0);
    let unknown = [Status(0x03), Status(0x3f), Status(0x1_0000), Status(0x8000_0000)];
    for status in known.chain(unknown).filter(|status| ![Status::OK, Status::PARTIAL].contains(status)) {
        let (host, remapping) = enabled();
        host.tamper(move |block, conduit| {
            put(block, 16, &status.0.to_le_bytes());
            put(block, 20, &[0; 4]);
            *conduit = status;
        });
        let operation = Operation::MAP;
        let for_calls = status.0 < 0x40 && status != Status::ABORTED;
        let expected = if for_calls {
            Error::Status { operation, status: status.result().unwrap_err() }
        } else {
            Error::ContractViolation { operation, violation: ContractViolation::CallStatus(status) }
        };
        assert_eq!(remapping.map(msix(0)), Err(expected), "{status:?}");
    }
}

#[test]
fn a_failed_call_has_done_nothing() {
    let error = map_two(|block, conduit| {
        *conduit = Status::RATE_LIMITED;
        put(block, 16, &Status::RATE_LIMITED.0.to_le_bytes());
    });
    assert_eq!(error, ContractViolation::Done { said: 2, counted: 0 });
}

#[test]
fn done_counts_the_records_that_are_ok() {
    assert_eq!(map_two_with(20, &[1]), ContractViolation::Done { said: 1, counted: 2 });
    assert_eq!(map_two_with(20, &[0xff; 4]), ContractViolation::Done { said: u32::MAX, counted: 2 });
}

#[test]
fn a_record_has_a_status_that_fits_the_call() {
    for status in [Status::PENDING, Status::PARTIAL, Status::ABORTED, Status::NO_GSI, Status(0x777)] {
        let error = map_two(move |block, _| put(block, at(1, 4), &status.0.to_le_bytes()));
        assert_eq!(error, ContractViolation::RecordStatus { record: 1, status });
    }
}

#[test]
fn a_partial_call_has_a_record_that_failed() {
    let error = map_two(|block, conduit| {
        *conduit = Status::PARTIAL;
        put(block, 16, &[1]);
    });
    assert_eq!(error, ContractViolation::NothingFailed);
}

#[test]
fn a_record_that_failed_has_no_answer() {
    let error = map_two(|block, conduit| {
        *conduit = Status::PARTIAL;
        put(block, 16, &[1, 0, 0, 0, 1]);
        put(block, at(1, 4), &Status::NO_GSI.0.to_le_bytes());
    });
    assert_eq!(error, ContractViolation::NotZero { record: 1, field: "handle" });
}

#[test]
fn a_handle_is_neither_zero_nor_anothers() {
    assert_eq!(map_two_with(at(1, 24), &[0; 8]), ContractViolation::NoHandle { record: 1 });
    let error = map_two(|block, _| block.copy_within(at(0, 24)..at(0, 32), at(1, 24)));
    assert_eq!(error, ContractViolation::HandleTwice { record: 1, handle: Handle::new(1, 1) });
}

#[test]
fn a_pair_is_a_message_and_not_anothers_of_the_device() {
    let error = map_two(|block, _| block.copy_within(at(0, 48)..at(0, 60), at(1, 48)));
    assert_eq!(
        error,
        ContractViolation::PairTwice { record: 1, pair: Pair { address: 0xfee0_0030, data: 0 } }
    );
    let bad = [0xdead_0000, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, 0xfee0_0001, 0xfee0_0002, 0, u64::MAX];
    for address in bad {
        let error = map_two(move |block, _| put(block, at(1, 48), &u64::to_le_bytes(address)));
        assert_eq!(error, ContractViolation::BadPair { record: 1, pair: Pair { address, data: 0 } });
    }
    let error = map_two_with(at(1, 58), &[1]);
    assert_eq!(
        error,
        ContractViolation::BadPair { record: 1, pair: Pair { address: 0xfee0_0050, data: 0x1_0000 } }
    );
}

#[test]
fn two_devices_may_have_the_same_pair() {
    let (host, remapping) = enabled();
    host.tamper(|block, _| block.copy_within(at(0, 48)..at(0, 60), at(1, 48)));
    let requests = [msix(0), MapRequest::new(Origin::msix(OTHER, 0), Target::Parked)];
    let mut results = [const { NOT_MAPPED }; 2];
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::Partial), Ok(2));
}

#[test]
fn the_state_is_known_masked_and_as_asked() {
    for state in [0u32, 0b0001, 0b0011, 0b1010, 0b0101, 0x8000_0002] {
        let error = map_two(move |block, _| put(block, at(0, 60), &state.to_le_bytes()));
        assert_eq!(error, ContractViolation::State { record: 0, state });
    }
}

#[test]
fn the_epoch_is_never_zero_and_never_goes_back() {
    assert_eq!(map_two_with(24, &[0; 8]), ContractViolation::Epoch { before: 1, said: 0 });
    let (host, remapping) = enabled();
    host.tamper(|block, _| put(block, 24, &[9]));
    let _irte = remapping.map(msix(0)).unwrap();
    host.be_honest();
    let violation = ContractViolation::Epoch { before: 9, said: 1 };
    assert_eq!(
        remapping.map(msix(1)),
        Err(Error::ContractViolation { operation: Operation::MAP, violation })
    );
}

/// A session with a ledger, which holds entry 0.
fn with_ledger() -> (FakeHost, Remapping<FakeHost>, Irte) {
    let host = host();
    let ledger = Box::leak(Box::new(IrteLedger::<64>::new()));
    let options = EnableOptions::new(Features::MSIX | Features::PARKING).with_ledger(ledger);
    let remapping = negotiated(&host, 16).enable(options).unwrap();
    let held = remapping.map(msix(0)).unwrap();
    (host, remapping, held)
}

#[test]
fn a_handle_of_an_earlier_batch_is_not_taken_again() {
    let (host, remapping, held) = with_ledger();
    let handle = held.handle();
    host.tamper(move |block, _| put(block, at(0, 24), &handle.0.to_le_bytes()));
    let origin = msix(1).origin;
    let violation = ContractViolation::HandleHeld { origin, handle };
    let operation = Operation::MAP;
    assert_eq!(remapping.map(msix(1)), Err(Error::ContractViolation { operation, violation }));
    let mut results = [const { NOT_MAPPED }; 2];
    let error = remapping.map_batch(&[msix(2), msix(3)], &mut results, BatchMode::Partial).unwrap_err();
    let violation = ContractViolation::HandleHeld { origin: msix(2).origin, handle };
    assert_eq!(error, Error::ContractViolation { operation, violation });
    assert_eq!(results[0], Err(EntryError::ContractViolation));
    assert!(results[1].is_ok(), "the other is as good as ever");
}

#[test]
fn a_pair_of_an_earlier_batch_is_not_taken_again_until_it_was_given_back() {
    let (host, remapping, held) = with_ledger();
    let Pair { address, data } = held.pair();
    host.tamper(move |block, _| {
        put(block, at(0, 48), &address.to_le_bytes());
        put(block, at(0, 56), &data.to_le_bytes());
    });
    let violation = ContractViolation::PairHeld { origin: msix(1).origin, pair: held.pair() };
    assert_eq!(
        remapping.map(msix(1)),
        Err(Error::ContractViolation { operation: Operation::MAP, violation })
    );
    host.be_honest();
    remapping.unmap(held).unwrap();
    host.tamper(move |block, _| {
        put(block, at(0, 48), &address.to_le_bytes());
        put(block, at(0, 56), &data.to_le_bytes());
    });
    assert!(remapping.map(msix(2)).is_ok());
}

#[test]
fn what_is_mapped_again_and_after_an_event_is_no_repetition() {
    let (host, remapping, held) = with_ledger();
    let again = remapping.map(msix(0)).unwrap();
    assert!(again.is_existing() && again == Irte { existing: true, ..held });
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let pair = again.pair();
    drop(again);
    host.tamper(move |block, _| put(block, at(0, 48), &pair.address.to_le_bytes()));
    assert_eq!(remapping.map(msix(0)).unwrap().pair(), pair);
}
