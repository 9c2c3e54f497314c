//! ENABLE: granted as a whole or refused with a reason.

use super::*;
use crate::fake::CallKind;
use pvir_abi::Refusal;

fn request() -> EnableRecord {
    EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)))
}

fn enable(fixture: &ServiceFixture, asked: EnableRecord) -> EnableRecord {
    let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    // E7, B4
    assert_eq!((answer.status, answer.header.status), (answer.records[0].status, answer.records[0].status));
    assert_eq!(answer.header.done, u32::from(answer.status == Status::OK));
    answer.records[0]
}

/// Refused, and nothing is enabled by it.
fn refused(spoil: impl FnOnce(&mut EnableRecord)) -> Status {
    let fixture = ServiceFixture::new();
    let mut asked = request();
    spoil(&mut asked);
    let status = enable(&fixture, asked).status;
    assert_eq!(fixture.features().enabled, 0);
    assert_eq!(fixture.platform.lock().footprint(), Footprint::default());
    status
}

#[test]
fn features_that_are_not_offered_are_refused() {
    // E1
    let offered = Service::FEATURES.union(Features::NOTIFY).union(Features::ATTACH).bits();
    for bit in (0..64).map(|bit| 1u64 << bit).filter(|bit| offered & bit == 0) {
        assert_eq!(refused(|r| r.features |= bit), Status::UNSUPPORTED_FEATURE, "{bit:#x}");
    }
}

#[test]
fn fields_that_were_not_taken_must_be_zero() {
    // E2
    assert_eq!(refused(|r| r.notify_vector = 0x40), Status::RESERVED_NOT_ZERO);
    assert_eq!(refused(|r| r.notify_apic_id = 1), Status::RESERVED_NOT_ZERO);
    let no_epoch = |r: &mut EnableRecord| r.features = Features::MSIX.bits();
    assert_eq!(refused(no_epoch), Status::RESERVED_NOT_ZERO);
}

#[test]
fn every_reserved_byte_is_validated() {
    // B5
    for byte in 36..64 {
        assert_eq!(refused(|r| r.as_mut_bytes()[byte] = 0x80), Status::RESERVED_NOT_ZERO, "byte {byte}");
    }
}

#[test]
fn an_event_area_out_of_place_is_refused() {
    // E3
    for at in [AREA + 1, AREA + 8, AREA + 63] {
        assert_eq!(refused(|r| r.event_area = GuestPhysAddr(at)), Status::UNALIGNED, "{at:#x}");
    }
    for at in [0x6_0000, 0xfee0_0000, !63] {
        assert_eq!(refused(|r| r.event_area = GuestPhysAddr(at)), Status::BAD_ADDRESS, "{at:#x}");
    }
}

#[test]
fn what_was_not_taken_is_refused_later() {
    let fixture = ServiceFixture::new();
    enable(&fixture, EnableRecord::request(Features::MSI, None));
    let refused = [
        (routed(0, 0, 0, 0x40), Status::STORE_UNSUPPORTED),
        (ims(0, 0, 0, 0x40), Status::STORE_UNSUPPORTED),
        (parked_messages(1), Status::BAD_FLAGS),
        (messages(2, 0, 0x40), Status::BAD_MESSAGE_COUNT),
        (messages(1, 0, 0x40), Status::OK),
    ];
    let answer = fixture.map(&refused.map(|(asked, _)| asked));
    assert_eq!(statuses(&answer.records), refused.map(|(_, status)| status));
}

#[test]
fn only_devices_of_which_a_store_was_taken_are_opened() {
    // E4, T5
    for (features, open) in [
        (Features::MSI, vec![2]),
        (Features::MSIX, vec![0, 1]),
        (Features::IMS, vec![0, 1]),
        (Features::MSI | Features::IMS, vec![0, 1, 2]),
        (Features::MSI_MULTI | Features::PARKING, vec![]),
    ] {
        let fixture = ServiceFixture::new();
        assert_eq!(enable(&fixture, EnableRecord::request(features, None)).status, Status::OK);
        assert_eq!(
            fixture.platform.lock().footprint().open.into_iter().collect::<Vec<_>>(),
            open,
            "{features:?}"
        );
        assert_eq!(fixture.disable(), Status::OK);
        assert_eq!(fixture.platform.lock().count(CallKind::Close), open.len());
        fixture.assert_baseline();
    }
}

#[test]
fn a_second_enable_changes_nothing() {
    // E7
    let fixture = ServiceFixture::enabled();
    fixture.map(&batch(0..3));
    let before = fixture.state();
    assert_eq!(enable(&fixture, request()).status, Status::ALREADY_ENABLED);
    assert_eq!(fixture.state(), before);
}

#[test]
fn a_device_that_is_not_isolated_refuses_the_whole_vm() {
    // E6
    let fixture = ServiceFixture::new();
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 4).not_isolated(Refusal::NO_SOURCE_ID));
    let record = enable(&fixture, request());
    assert_eq!((record.status, record.refusal), (Status::REFUSED, Refusal::NO_SOURCE_ID));
    assert_eq!(record.device, device(3));
    assert!(fixture.platform.lock().calls().is_empty());
    assert_eq!(fixture.features().enabled, 0);
}

#[test]
fn a_device_that_does_not_open_closes_the_others() {
    let fixture = ServiceFixture::new();
    fixture.platform.lock().faults.fail_once(Some(CallKind::Open), 1, libc::EIO);
    let record = enable(&fixture, request());
    assert_eq!((record.status, record.refusal), (Status::HOST_ERROR, Refusal::NONE));
    assert_eq!(fixture.platform.lock().footprint(), Footprint::default());
    assert_eq!(enable(&fixture, request()).status, Status::OK);
}

#[test]
fn a_device_comes_once() {
    let fixture = ServiceFixture::new();
    let fake = |number| Box::new(FakeDevice::new(fixture.platform.clone(), number, 4));
    assert!(matches!(fixture.service.add_device(device(0), fake(0)), Err(SetupError::DuplicateDevice(_))));
    fixture.enable();
    assert!(matches!(fixture.service.add_device(device(0), fake(0)), Err(SetupError::DuplicateDevice(_))));
}

#[test]
fn each_enable_has_a_new_epoch() {
    // E8
    let fixture = ServiceFixture::enabled();
    let epoch = |fixture: &ServiceFixture| fixture.query(&[query_of(0, 0)]).header.epoch;
    let first = epoch(&fixture);
    fixture.disable();
    fixture.enable();
    assert!(epoch(&fixture) > first && first > 0);
}
