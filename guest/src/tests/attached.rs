//! Devices that are taken one at a time.

use super::*;
use crate::{AttachedDevice, Error, IrteLedger, Pvir};
use pvir_abi::{EventReason, Operation, Refusal, Status};
use std::boxed::Box;

fn by_device(host: &FakeHost) -> Remapping<FakeHost> {
    let ledger: &'static IrteLedger<64> = Box::leak(Box::default());
    let options = EnableOptions::new(Features::MSIX | Features::PARKING).with_ledger(ledger);
    negotiated(host, 512).enable(options.device_by_device()).unwrap()
}

fn status<T: core::fmt::Debug>(result: Result<T, Error>) -> Status {
    match result.unwrap_err() {
        Error::Device { status, .. } | Error::Entry { status, .. } | Error::Status { status, .. } => {
            status.status()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_device_is_taken_and_given_back_with_its_irtes() {
    let host = host();
    let remapping = by_device(&host);
    assert_eq!(status(remapping.map(msix(3))), Status::NOT_ATTACHED);
    let mut device = remapping.attach(DEVICE).unwrap();
    assert_eq!(status(remapping.attach(DEVICE)), Status::ALREADY_ATTACHED);
    let other = remapping.attach(OTHER).unwrap();
    let kept = remapping.map(other.msix(0, Target::fixed(0, 0x60))).unwrap();
    for _ in 0..100 {
        // The host may give the same pair again: the ledger does not take it for a repetition.
        let irte = remapping.map(device.msix(3, Target::fixed(1, 0x51))).unwrap();
        remapping.detach(device).unwrap();
        assert_eq!(host.held(), 1, "the other device's");
        assert_eq!(status(remapping.verify(&irte)), Status::NOT_ATTACHED);
        device = remapping.attach(DEVICE).unwrap();
        assert_eq!(status(remapping.verify(&irte)), Status::STALE_HANDLE);
    }
    remapping.unmap(kept).unwrap();
    assert_eq!((device.id(), other.id()), (DEVICE, OTHER));
}

#[test]
fn without_the_feature_there_is_no_attach() {
    let (_host, remapping) = enabled();
    assert_eq!(status(remapping.attach(DEVICE)), Status::BAD_OPERATION);
    remapping.unmap(remapping.map(msix(3)).unwrap()).unwrap();
}

#[test]
fn a_refusal_names_its_reason_and_a_device_that_has_gone_cannot_be_given_back() {
    let host = host();
    let remapping = by_device(&host);
    host.refuse(Refusal::SHARED_GROUP, DEVICE);
    let refused = Error::Refused { reason: Refusal::SHARED_GROUP, device: DEVICE };
    assert_eq!(remapping.attach(DEVICE), Err(refused));
    let other = remapping.attach(OTHER).unwrap();
    host.raise_event(EventReason::DEVICE_GONE, Some(OTHER));
    let failed = remapping.detach(other).unwrap_err();
    assert_eq!(failed.device.id(), OTHER);
    assert_eq!(status(Err::<(), _>(failed.error)), Status::DEVICE_GONE);
    let (unknown, operation) = (DeviceId::new(9, Bdf(0)), Operation::ATTACH);
    let text = std::format!("{}", remapping.attach(unknown).unwrap_err());
    assert_eq!(text, "ATTACH of device 0009:00:00.0: NO_DEVICE: no such device in this VM");
    assert_eq!(host.calls().last(), Some(&operation));
}

/// A kernel keeps them where it keeps its driver's state.
#[test]
fn the_token_borrows_nothing() {
    struct Driver {
        _device: AttachedDevice,
        _pvir: Option<Pvir<FakeHost>>,
    }
    let host = host();
    let remapping = by_device(&host);
    let device = remapping.attach(DEVICE).unwrap();
    let pvir = remapping.disable().unwrap().pvir;
    let _driver = Driver { _device: device, _pvir: Some(pvir) };
}
