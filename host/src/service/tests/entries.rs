//! Records that are refused, each for one reason.

use super::*;
use pvir_abi::{Arch, DeliveryMode, DestinationMode, Routing};

type SpoilRecord = fn(&mut EntryRecord);

/// The status of a spoilt MAP of a free entry. Its state is as before, its out fields zero (O5).
fn refused(fixture: &ServiceFixture, spoil: impl FnOnce(&mut EntryRecord)) -> Status {
    let mut asked = routed(0, 7, 0, 0x51);
    spoil(&mut asked);
    refused_as(fixture, Operation::MAP, asked)
}

fn refused_as(fixture: &ServiceFixture, operation: Operation, asked: EntryRecord) -> Status {
    let before = fixture.state();
    let answer = fixture.call(operation, CallFlags::empty(), &[asked]);
    let got = answer.records[0];
    assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 0), "O2");
    assert_eq!((got.address, got.data, got.state), (0, 0, 0), "O5");
    let input_of = |r: EntryRecord| EntryRecord { status: Status::OK, address: 0, data: 0, state: 0, ..r };
    if operation != Operation::QUERY {
        assert_eq!(input_of(got), input_of(asked), "B3");
    }
    assert_eq!(fixture.state(), before, "state");
    got.status
}

#[test]
fn vectors_of_exceptions_are_refused() {
    let fixture = ServiceFixture::enabled();
    for vector in 0..32 {
        assert_eq!(refused(&fixture, |r| r.routing.vector = vector), Status::BAD_VECTOR, "{vector}");
    }
}

#[test]
fn destinations_that_are_not_one_vcpu_are_refused() {
    let fixture = ServiceFixture::enabled();
    for id in [2, 254, 256, 299, 301, 0x8000_0000, 0xffff_fffe] {
        assert_eq!(refused(&fixture, |r| r.routing.destination = id), Status::BAD_DESTINATION, "{id:#x}");
    }
    for id in [0xff, 0xffff_ffff] {
        assert_eq!(refused(&fixture, |r| r.routing.destination = id), Status::BROADCAST, "{id:#x}");
    }
}

#[test]
fn modes_that_are_never_served_are_refused() {
    let fixture = ServiceFixture::enabled();
    let served = [DeliveryMode::FIXED.0, DeliveryMode::LOWEST_PRIORITY.0];
    for mode in (0..=255).filter(|mode| !served.contains(mode)) {
        assert_eq!(
            refused(&fixture, |r| r.routing.delivery_mode = mode),
            Status::BAD_DELIVERY_MODE,
            "{mode}"
        );
    }
    for mode in DestinationMode::LOGICAL.0 + 1..=255 {
        let spoil = |r: &mut EntryRecord| r.routing.destination_mode = mode;
        assert_eq!(refused(&fixture, spoil), Status::BAD_DESTINATION_MODE, "{mode}");
    }
    for hint in [2, 0x80, 0xff] {
        assert_eq!(refused(&fixture, |r| r.routing.hint = hint), Status::RESERVED_NOT_ZERO, "{hint}");
    }
}

#[test]
fn architectures_that_are_not_served_are_refused() {
    let fixture = ServiceFixture::enabled();
    for arch in [0, 2, 3, 0xffff] {
        assert_eq!(refused(&fixture, |r| r.arch = Arch(arch)), Status::BAD_ARCH, "{arch}");
    }
}

#[test]
fn devices_of_others_are_refused() {
    let fixture = ServiceFixture::enabled();
    for other in [device(3), DeviceId::new(1, device(0).bdf), DeviceId::default()] {
        assert_eq!(refused(&fixture, |r| r.device = other), Status::NO_DEVICE, "{other}");
    }
    for (operation, asked) in [
        (Operation::QUERY, query_of(9, 0)),
        (Operation::UNMAP, query_of(9, 0).with_handle(Handle::new(0, 1))),
        (Operation::RETARGET, moved(&query_of(9, 0).with_handle(Handle::new(0, 1)), 0, 0x40)),
    ] {
        assert_eq!(refused_as(&fixture, operation, asked), Status::NO_DEVICE, "{operation:?}");
    }
}

#[test]
fn stores_and_indices_that_the_device_does_not_have_are_refused() {
    let fixture = ServiceFixture::enabled();
    for store in [0, 4, 0x8002, 0xffff] {
        assert_eq!(refused(&fixture, |r| r.store = Store(store)), Status::BAD_STORE, "{store}");
    }
    assert_eq!(refused(&fixture, |r| r.store = Store::MSI), Status::STORE_UNSUPPORTED);
    assert_eq!(refused(&fixture, |r| r.device = device(2)), Status::STORE_UNSUPPORTED);
    assert_eq!(refused(&fixture, |r| (r.store, r.index) = (Store::IMS, 64)), Status::BAD_INDEX);
    for index in [64, 65, 2047, 2048, u32::MAX] {
        assert_eq!(refused(&fixture, |r| r.index = index), Status::BAD_INDEX, "{index}");
    }
    for index in [1, 2, 15, 16] {
        assert_eq!(
            refused_as(&fixture, Operation::MAP, EntryRecord { index, ..messages(1, 0, 0x40) }),
            Status::BAD_INDEX
        );
    }
    for count in [0, 2, 32, u32::MAX] {
        assert_eq!(refused(&fixture, |r| r.count = count), Status::BAD_MESSAGE_COUNT, "{count}");
        let of_ims = |r: &mut EntryRecord| (r.store, r.count) = (Store::IMS, count);
        assert_eq!(refused(&fixture, of_ims), Status::BAD_MESSAGE_COUNT, "{count}");
    }
}

#[test]
fn unknown_flags_are_refused() {
    let fixture = ServiceFixture::enabled();
    for bit in 1..32 {
        assert_eq!(refused(&fixture, |r| r.flags = 1 << bit), Status::BAD_FLAGS, "bit {bit}");
    }
}

#[test]
fn every_byte_that_map_does_not_take_must_be_zero() {
    // B5: the reserved half of the routing, and the handle.
    let fixture = ServiceFixture::enabled();
    for byte in (24..32).chain(40..48) {
        let status = refused(&fixture, |r| r.as_mut_bytes()[byte] = 1);
        assert_eq!(status, Status::RESERVED_NOT_ZERO, "byte {byte}");
    }
}

#[test]
fn a_parked_map_takes_no_routing() {
    let fixture = ServiceFixture::enabled();
    for byte in (10..12).chain(32..48) {
        let mut asked = parked(0, 7);
        asked.as_mut_bytes()[byte] = 1;
        assert_eq!(refused_as(&fixture, Operation::MAP, asked), Status::RESERVED_NOT_ZERO, "byte {byte}");
    }
}

#[test]
fn unmap_takes_neither_flags_nor_routing() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 1, 0x51)]).records[0];
    for byte in (10..12).chain(32..48) {
        let mut asked = named(&mapped);
        asked.as_mut_bytes()[byte] = 1;
        assert_eq!(refused_as(&fixture, Operation::UNMAP, asked), Status::RESERVED_NOT_ZERO, "byte {byte}");
    }
    let flagged = EntryRecord { flags: 1, ..named(&mapped) };
    assert_eq!(refused_as(&fixture, Operation::UNMAP, flagged), Status::BAD_FLAGS);
    assert_eq!(refused_as(&fixture, Operation::QUERY, flagged), Status::BAD_FLAGS);
}

#[test]
fn what_the_host_answers_is_ignored_on_input() {
    // B5
    let fixture = ServiceFixture::enabled();
    let dirty = |r: EntryRecord| EntryRecord { status: Status(77), address: !0, data: !0, state: !0, ..r };
    let mapped = fixture.map(&[dirty(routed(0, 3, 1, 0x51))]).records[0];
    assert_eq!(mapped.status, Status::OK);
    assert_eq!(fixture.retarget(&[dirty(moved(&mapped, 0, 0x52))]).status, Status::OK);
    let looked = EntryRecord {
        arch: Arch(9),
        routing: Routing { destination: 9, ..mapped.routing },
        ..named(&mapped)
    };
    assert_eq!(fixture.query(&[dirty(looked)]).records[0].routing.destination, 0);
    assert_eq!(fixture.unmap(&[dirty(named(&mapped))]).status, Status::OK);
}

#[test]
fn every_reserved_byte_of_the_question_records_is_validated() {
    let fixture = ServiceFixture::enabled();
    for byte in (0..4).chain(52..64) {
        let mut asked = FeaturesRecord::request();
        asked.as_mut_bytes()[byte] = 1;
        let answer = fixture.call(Operation::FEATURES, CallFlags::empty(), &[asked]);
        assert_eq!(answer.records[0], FeaturesRecord { status: Status::RESERVED_NOT_ZERO, ..asked });
    }
    for byte in 36..64 {
        let mut asked = DeviceRecord::request(device(0));
        asked.as_mut_bytes()[byte] = 1;
        let answer = fixture.call(Operation::DEVICE_INFO, CallFlags::empty(), &[asked]);
        assert_eq!(answer.records[0], DeviceRecord { status: Status::RESERVED_NOT_ZERO, ..asked });
    }
    let asked = DeviceRecord { stores: 7, flags: 7, irtes: 7, ..DeviceRecord::request(device(5)) };
    let answer = fixture.call(Operation::DEVICE_INFO, CallFlags::empty(), &[asked]);
    let expected = DeviceRecord { status: Status::NO_DEVICE, ..DeviceRecord::request(device(5)) };
    assert_eq!(answer.records[0], expected);
}

#[test]
fn handles_that_name_nothing_are_stale() {
    // H2
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 1, 0x51)]).records[0];
    let live = mapped.handle;
    for handle in [Handle(live.0 + 1), Handle(live.0 ^ 1 << 33), Handle(live.0 ^ 1 << 63), Handle(!0)] {
        for (operation, asked) in [
            (Operation::UNMAP, named(&mapped)),
            (Operation::QUERY, named(&mapped)),
            (Operation::RETARGET, moved(&mapped, 0, 0x52)),
        ] {
            let asked = asked.with_handle(handle);
            assert_eq!(
                refused_as(&fixture, operation, asked),
                Status::STALE_HANDLE,
                "{operation:?} {handle:?}"
            );
        }
    }
    let none = named(&mapped).with_handle(Handle::NONE);
    assert_eq!(refused_as(&fixture, Operation::UNMAP, none), Status::STALE_HANDLE);
}

#[test]
fn a_live_handle_of_another_entry_is_a_mismatch() {
    // H2
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 1, 0x51)]).records[0];
    let others = [
        EntryRecord { index: 4, ..mapped },
        EntryRecord { device: device(1), ..mapped },
        EntryRecord { store: Store::IMS, ..mapped },
        messages(1, 0, 0x40).with_handle(mapped.handle),
    ];
    for other in others {
        for (operation, asked) in [
            (Operation::UNMAP, named(&other)),
            (Operation::QUERY, named(&other)),
            (Operation::RETARGET, moved(&other, 0, 0x52)),
        ] {
            assert_eq!(refused_as(&fixture, operation, asked), Status::HANDLE_MISMATCH, "{operation:?}");
        }
    }
}

#[test]
fn the_first_reason_to_refuse_a_record_is_its_status() {
    // "A record is validated in this order", from the last to the first.
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 1, 0x51)]);
    let refused_records: [(SpoilRecord, Status); 12] = [
        (|r| r.index = 3, Status::ALREADY_MAPPED),
        (|r| r.routing.destination = 9, Status::BAD_DESTINATION),
        (|r| r.routing.vector = 9, Status::BAD_VECTOR),
        (|r| r.routing.destination_mode = 2, Status::BAD_DESTINATION_MODE),
        (|r| r.routing.delivery_mode = 4, Status::BAD_DELIVERY_MODE),
        (|r| r.routing.hint = 2, Status::RESERVED_NOT_ZERO),
        (|r| r.arch = Arch::ARM_ITS, Status::BAD_ARCH),
        (|r| r.count = 2, Status::BAD_MESSAGE_COUNT),
        (|r| r.index = 64, Status::BAD_INDEX),
        (|r| r.store = Store(9), Status::BAD_STORE),
        (|r| r.device = DeviceId::default(), Status::NO_DEVICE),
        (|r| r.flags = 2, Status::BAD_FLAGS),
    ];
    let mut asked = routed(0, 7, 0, 0x51);
    for (spoil, expected) in refused_records {
        spoil(&mut asked);
        assert_eq!(refused_as(&fixture, Operation::MAP, asked), expected);
    }
    asked.handle = Handle(1);
    assert_eq!(refused_as(&fixture, Operation::MAP, asked), Status::RESERVED_NOT_ZERO);
}
