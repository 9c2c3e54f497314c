//! The whole life of a session, and of one interrupt.

use super::*;
use crate::{Disabled, EntryError, Error, Notify};
use pvir_abi::{EventReason, Operation, Refusal, Status};
use std::string::ToString;

#[test]
fn an_interrupt_from_map_to_unmap() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(3)).unwrap();
    let pair = irte.pair();
    assert!(!irte.is_existing());
    remapping.retarget(&mut irte, Target::fixed(7, 0x60)).unwrap();
    assert_eq!((irte.pair(), irte.target()), (pair, Target::fixed(7, 0x60)));
    let held = remapping.query(irte.origin()).unwrap();
    assert_eq!((held.handle, held.pair, held.target), (irte.handle(), pair, irte.target()));
    remapping.park(&mut irte).unwrap();
    assert_eq!(remapping.verify(&irte).unwrap().target, Target::Parked);
    remapping.unmap(irte).unwrap();
    assert_eq!(host.held(), 0);
}

#[test]
fn a_session_comes_back_from_disable_and_enables_again() {
    let (host, remapping) = enabled();
    let first = remapping.epoch();
    let _irte = remapping.map(msix(0)).unwrap();
    let Disabled { pvir, events: area, .. } = remapping.disable().unwrap();
    assert_eq!(host.held(), 0);
    let options = EnableOptions::new(Features::MSIX).with_events(area.unwrap());
    let remapping = pvir.enable(options).unwrap();
    assert!(remapping.epoch() > first);
}

#[test]
fn a_kernel_that_was_started_by_another_takes_over_if_it_says_so() {
    let (host, before) = enabled();
    let (epoch, old) = (before.epoch(), before.map(msix(0)).unwrap());
    let ask = || EnableOptions::new(Features::MSIX).with_events(host.event_memory());
    let failed = negotiated(&host, 1).enable(ask()).unwrap_err();
    let already = Status::ALREADY_ENABLED.result().unwrap_err();
    assert_eq!(failed.error, Error::Status { operation: Operation::ENABLE, status: already });
    assert_eq!(host.held(), 1);
    let after = failed.pvir.enable(failed.options.taking_over()).unwrap();
    assert_eq!(host.held(), 0);
    assert!(after.epoch() > epoch);
    assert!(before.verify(&old).is_err());
    assert_eq!(host.calls().iter().filter(|call| **call == Operation::DISABLE).count(), 1);
}

#[test]
fn a_kernel_that_finds_nothing_left_behind_disables_nothing() {
    let host = host();
    let _remapping = negotiated(&host, 1).enable(EnableOptions::new(Features::MSIX).taking_over()).unwrap();
    assert_eq!(host.calls(), [Operation::FEATURES, Operation::ENABLE]);
}

#[test]
fn a_refusal_names_reason_and_device_and_gives_the_session_back() {
    let host = host();
    host.refuse(Refusal::NO_SOURCE_ID, OTHER);
    let failed = negotiated(&host, 1).enable(EnableOptions::new(Features::MSIX)).unwrap_err();
    assert_eq!(failed.error, Error::Refused { reason: Refusal::NO_SOURCE_ID, device: OTHER });
    assert_eq!(
        failed.to_string(),
        "the host refuses direct programming because of device 0000:01:02.0: NO_SOURCE_ID; \
         go on with trapped MSI-X"
    );
    let mut info = [Err(EntryError::NotAsked)];
    assert_eq!(failed.pvir.device_info(&[DEVICE], &mut info), Ok(1));
}

#[test]
fn a_feature_that_is_not_offered_is_not_asked_for() {
    let host = host();
    let unknown = Features::from_bits_retain(1 << 40);
    let failed = negotiated(&host, 1).enable(EnableOptions::new(Features::MSIX | unknown)).unwrap_err();
    assert_eq!(failed.error, Error::FeaturesNotOffered(unknown));
    assert_eq!(host.calls(), [Operation::FEATURES]);
}

#[test]
fn epoch_and_notify_need_their_parts() {
    let host = host();
    let failed = negotiated(&host, 1).enable(EnableOptions::new(Features::EPOCH)).unwrap_err();
    assert_eq!(failed.error, Error::InconsistentOptions(Features::EPOCH));
    let options = EnableOptions::new(Features::MSIX).with_notify(Notify { apic_id: 0, vector: 0x40 });
    let failed = failed.pvir.enable(options).unwrap_err();
    assert_eq!(failed.error, Error::InconsistentOptions(Features::NOTIFY));
}

#[test]
fn device_information_says_which_devices_are_unknown() {
    let (_host, remapping) = enabled();
    let stranger = DeviceId::new(1, Bdf(0));
    let mut results = [Err(EntryError::NotAsked); 3];
    assert_eq!(remapping.device_info(&[DEVICE, stranger, OTHER], &mut results), Ok(2));
    assert_eq!(results[0].unwrap().msix_entries, ENTRIES);
    assert_eq!(results[1], Err(EntryError::Status(Status::NO_DEVICE.result().unwrap_err())));
    assert_eq!(results[2].unwrap().id, OTHER);
}

#[test]
fn an_event_is_read_without_a_call_and_its_handles_are_stale() {
    let (host, remapping) = enabled();
    let irte = remapping.map(msix(0)).unwrap();
    let (calls, epoch) = (host.calls().len(), remapping.epoch());
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let event = remapping.events().unwrap().read().unwrap();
    assert_eq!((event.epoch, event.sequence), (epoch + 1, 1));
    assert_eq!((event.reason, event.device), (EventReason::STALE_PAIRS, Some(DEVICE)));
    assert_eq!(host.calls().len(), calls);
    let status = Status::STALE_HANDLE.result().unwrap_err();
    let failed = remapping.unmap(irte).unwrap_err();
    assert_eq!(
        failed.error,
        Error::Entry { operation: Operation::UNMAP, origin: Origin::msix(DEVICE, 0), status }
    );
}

#[test]
fn the_same_request_again_answers_the_same_pair_and_says_so() {
    let (_host, remapping) = enabled();
    let first = remapping.map(msix(0)).unwrap();
    let second = remapping.map(msix(0)).unwrap();
    assert!(second.is_existing());
    assert_eq!((first.handle(), first.pair()), (second.handle(), second.pair()));
}

#[test]
fn a_status_of_the_host_names_operation_entry_and_cause() {
    let (_host, remapping) = enabled();
    let error = remapping.map(MapRequest::new(Origin::msix(DEVICE, 0), Target::fixed(64, 0x40))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MAP of MSIX entry 0 of device 0000:00:01.0: BAD_DESTINATION: no vCPU has this APIC id"
    );
}
