//! Wrong answers to the operations other than MAP, and to the later calls of a batch.

use super::hostile::{at, put};
use super::*;
use crate::{BatchMode, ContractViolation, EntryError, Error, NOT_MAPPED};
use pvir_abi::{Operation, Pair, Status};
use std::vec::Vec;

#[test]
fn the_pair_does_not_change_on_retarget() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(0)).unwrap();
    host.tamper(|block, _| put(block, at(0, 49), &[0x77]));
    let was = irte.pair();
    let now = Pair { address: 0xfee0_7730, ..was };
    let violation = ContractViolation::PairChanged { record: 0, was, now };
    let error = Error::ContractViolation { operation: Operation::RETARGET, violation };
    assert_eq!(remapping.retarget(&mut irte, Target::Parked), Err(error));
    assert_eq!(irte.pair(), was);
}

#[test]
fn a_retarget_says_nothing_of_masks_and_keeps_the_handle() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(0)).unwrap();
    let mut retarget = |offset, byte| {
        host.tamper(move |block, _| put(block, at(0, offset), &[byte]));
        remapping.retarget(&mut irte, Target::Parked).unwrap_err()
    };
    let error = |violation| Error::ContractViolation { operation: Operation::RETARGET, violation };
    assert_eq!(retarget(60, 3), error(ContractViolation::State { record: 0, state: 3 }));
    assert_eq!(retarget(24, 9), error(ContractViolation::RecordChanged { record: 0, field: "handle" }));
}

#[test]
fn an_unmap_answers_with_its_status_alone_and_the_token_comes_back() {
    let (host, remapping) = enabled();
    let irte = remapping.map(msix(0)).unwrap();
    host.tamper(|block, _| put(block, at(0, 48), &[9]));
    let failed = remapping.unmap(irte).unwrap_err();
    let violation = ContractViolation::NotZero { record: 0, field: "address" };
    assert_eq!(failed.error, Error::ContractViolation { operation: Operation::UNMAP, violation });
}

#[test]
fn a_query_with_a_malformed_routing_is_not_believed() {
    let (host, remapping) = enabled();
    let irte = remapping.map(msix(0)).unwrap();
    let violation = ContractViolation::Routing { record: 0 };
    // Another architecture; an exception's vector; NMI, and a delivery mode that nobody knows; a destination mode that
    // nobody knows; a bit beside the hint; a reserved byte.
    for (offset, byte) in [(10, 2), (36, 31), (37, 4), (37, 9), (38, 2), (39, 2), (47, 1)] {
        host.tamper(move |block, _| put(block, at(0, offset), &[byte]));
        let error = remapping.verify(&irte).unwrap_err();
        assert_eq!(error, Error::ContractViolation { operation: Operation::QUERY, violation });
    }
}

#[test]
fn the_routing_of_a_retarget_comes_back_as_it_was_asked() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(0)).unwrap();
    let violation = ContractViolation::RecordChanged { record: 0, field: "routing" };
    // What a logical destination was resolved to is not the guest's business (statement L5).
    for (offset, byte) in [(32, 9), (36, 0x52), (37, 1), (38, 1), (39, 1)] {
        host.tamper(move |block, _| put(block, at(0, offset), &[byte]));
        let error = remapping.retarget(&mut irte, Target::fixed(1, 0x51)).unwrap_err();
        assert_eq!(error, Error::ContractViolation { operation: Operation::RETARGET, violation });
    }
}

#[test]
fn the_low_bits_of_a_multi_message_data_are_the_devices() {
    let host = FakeHost::new(&[FakeDevice::with_msi(DEVICE, 32)]);
    let remapping = enabled_with(&host, 1);
    for count in [2u32, 4, 8, 16, 32] {
        let request = MapRequest::new(Origin::msi(DEVICE, count), Target::fixed(1, 0x60));
        for bit in 0..count.ilog2() {
            let data = 1u32 << bit;
            host.tamper(move |block, _| put(block, at(0, 56), &data.to_le_bytes()));
            let error = remapping.map(request).unwrap_err();
            let bad = |violation| matches!(violation, ContractViolation::BadPair { record: 0, pair } if pair.data == data);
            assert!(
                matches!(error, Error::ContractViolation { violation, .. } if bad(violation)),
                "{count}: {error}"
            );
        }
        host.be_honest();
        remapping.unmap(remapping.map(request).unwrap()).unwrap();
    }
}

#[test]
fn features_must_say_what_cpuid_says() {
    let fields = [(8, "oldest"), (10, "newest"), (12, "max_records"), (16, "features")];
    for (offset, field) in fields {
        let host = host();
        host.tamper(move |block, _| put(block, at(0, offset), &[0x5a]));
        let error = Pvir::negotiate(&host.discovered(), host.clone(), host.block(1)).unwrap_err();
        let violation = ContractViolation::NotAsDiscovered { field };
        assert_eq!(error, Error::ContractViolation { operation: Operation::FEATURES, violation });
    }
}

/// FEATURES, answered as `tamper` changes it.
fn features_error(tamper: impl FnMut(&mut [u8], &mut Status) + Send + 'static) -> Error {
    let host = host();
    host.tamper(tamper);
    Pvir::negotiate(&host.discovered(), host.clone(), host.block(1)).unwrap_err()
}

#[test]
fn what_was_enabled_before_is_offered_and_has_an_epoch() {
    let violated = |violation| Error::ContractViolation { operation: Operation::FEATURES, violation };
    let enabled = |block: &mut [u8]| put(block, at(0, 24), &Features::MSIX.bits().to_le_bytes());
    let error = features_error(move |block, _| enabled(block));
    assert_eq!(error, violated(ContractViolation::Epoch { before: 0, said: 0 }));
    let field = "enabled or irtes";
    let unknown = features_error(|block, _| put(block, at(0, 31), &[0x80]));
    assert_eq!(unknown, violated(ContractViolation::NotAsDiscovered { field }));
    let more_than_all = features_error(|block, _| put(block, at(0, 40), &[0xff; 4]));
    assert_eq!(more_than_all, violated(ContractViolation::NotAsDiscovered { field }));
    // Firmware may have left it enabled.
    let host = host();
    host.tamper(move |block, _| {
        put(block, 24, &[3]);
        enabled(block);
    });
    let pvir = Pvir::negotiate(&host.discovered(), host.clone(), host.block(1)).unwrap();
    assert_eq!(pvir.limits().enabled, Features::MSIX);
}

#[test]
fn a_features_record_that_failed_has_no_answer() {
    let partly = |block: &mut [u8], conduit: &mut Status| {
        *conduit = Status::PARTIAL;
        put(block, 16, &[1, 0, 0, 0, 0]);
        put(block, at(0, 4), &Status::NO_GSI.0.to_le_bytes());
    };
    let violation = ContractViolation::NotZero { record: 0, field: "features" };
    assert_eq!(
        features_error(partly),
        Error::ContractViolation { operation: Operation::FEATURES, violation }
    );
}

#[test]
fn a_disable_is_carried_out_or_refused_as_a_whole() {
    let error = |status: Status, done: u8| {
        let (host, remapping) = enabled();
        host.tamper(move |block, conduit| {
            *conduit = status;
            put(block, 16, &status.0.to_le_bytes());
            put(block, 20, &[done, 0, 0, 0]);
        });
        let failed = remapping.disable().unwrap_err();
        assert!(failed.remapping.features().contains(Features::MSIX), "the session comes back as it was");
        failed.error
    };
    let operation = Operation::DISABLE;
    let violated = |violation| Error::ContractViolation { operation, violation };
    assert_eq!(error(Status::OK, 1), violated(ContractViolation::Done { said: 1, counted: 0 }));
    assert_eq!(error(Status::PARTIAL, 0), violated(ContractViolation::CallStatus(Status::PARTIAL)));
    let status = Status::RATE_LIMITED.result().unwrap_err();
    assert_eq!(error(Status::RATE_LIMITED, 0), Error::Status { operation, status });
}

/// ENABLE with an event area, answered as `tamper` changes it.
fn enable_error(tamper: impl FnMut(&mut [u8], &mut Status) + Send + 'static) -> Error {
    let host = host();
    let pvir = negotiated(&host, 1);
    host.tamper(tamper);
    pvir.enable(EnableOptions::new(Features::MSIX).with_events(host.event_memory())).unwrap_err().error
}

#[test]
fn an_enable_is_whole_or_it_is_not_believed() {
    let operation = Operation::ENABLE;
    let violated = |violation| Error::ContractViolation { operation, violation };
    let with = |offset, byte: u8| enable_error(move |block, _| put(block, offset, &[byte; 4]));
    assert_eq!(with(20, 0), violated(ContractViolation::Done { said: 0, counted: 1 }));
    assert_eq!(with(24, 0), violated(ContractViolation::Epoch { before: 0, said: 0 }));
    assert_eq!(with(28, 1), violated(ContractViolation::EventArea));
    assert_eq!(with(at(0, 0), 1), violated(ContractViolation::NotZero { record: 0, field: "device" }));
    assert_eq!(
        with(at(0, 8), 1),
        violated(ContractViolation::RecordChanged { record: 0, field: "features" })
    );
    assert_eq!(
        with(at(0, 16), 1),
        violated(ContractViolation::RecordChanged { record: 0, field: "event_area" })
    );
    assert_eq!(with(at(0, 32), 1), violated(ContractViolation::NotZero { record: 0, field: "refusal" }));
    assert_eq!(
        with(at(0, 36), 1),
        violated(ContractViolation::RecordChanged { record: 0, field: "reserved" })
    );
    let refused = Status::REFUSED;
    let error = enable_error(move |block, status| {
        *status = refused;
        put(block, 16, &refused.0.to_le_bytes());
        put(block, 20, &[0; 4]);
        put(block, at(0, 4), &refused.0.to_le_bytes());
    });
    assert_eq!(error, violated(ContractViolation::NoReason));
}

#[test]
fn a_later_call_that_lies_leaves_what_earlier_calls_granted() {
    let host = host();
    let remapping = enabled_with(&host, 2);
    let mut calls = 0;
    host.tamper(move |block, _| {
        calls += 1;
        if calls == 2 {
            put(block, 20, &[7]);
        }
    });
    let requests: Vec<_> = (0..6).map(msix).collect();
    let mut results: Vec<_> = requests.iter().map(|_| NOT_MAPPED).collect();
    assert!(remapping.map_batch(&requests, &mut results, BatchMode::Partial).is_err());
    assert!(results[..2].iter().all(Result::is_ok));
    assert_eq!(
        results[2..],
        [
            EntryError::ContractViolation,
            EntryError::ContractViolation,
            EntryError::NotAsked,
            EntryError::NotAsked
        ]
        .map(Err)
    );
}
