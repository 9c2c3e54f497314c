//! Headers that are refused, each for one reason.

use super::*;

type SpoilHeader = fn(&mut Header);

/// A header of a MAP of one record, spoilt by `spoil`; the answer and whether anything changed.
fn refused(fixture: &ServiceFixture, spoil: impl FnOnce(&mut Header)) -> Status {
    let before = fixture.state();
    let mut header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);
    spoil(&mut header);
    let asked = routed(0, 7, 0, 0x51);
    let answer = fixture.send(header, &[asked]);
    // B4: only status, done and epoch are written.
    assert_eq!((answer.header.status, answer.header.done), (answer.status, 0));
    assert_eq!(Header { status: Status::PENDING, done: 0, epoch: 0, ..answer.header }, header);
    assert_eq!(answer.records, [asked]);
    assert_eq!(fixture.state(), before, "state");
    answer.status
}

#[test]
fn unknown_magic_version_operation_and_flags_are_refused() {
    let fixture = ServiceFixture::enabled();
    assert_eq!(refused(&fixture, |h| h.magic ^= 1), Status::BAD_MAGIC);
    assert_eq!(refused(&fixture, |h| h.magic = 0), Status::BAD_MAGIC);
    for version in [0, 2, 0xffff] {
        assert_eq!(refused(&fixture, |h| h.version = Version(version)), Status::BAD_VERSION);
    }
    for operation in [0, 9, 10, 0x8005, 0xffff] {
        assert_eq!(refused(&fixture, |h| h.operation = Operation(operation)), Status::BAD_OPERATION);
    }
    for bit in 1..32 {
        assert_eq!(refused(&fixture, |h| h.flags = 1 << bit), Status::BAD_FLAGS, "bit {bit}");
    }
}

#[test]
fn operations_that_take_no_flag_refuse_it() {
    // O6
    let fixture = ServiceFixture::enabled();
    for (operation, count) in [
        (Operation::FEATURES, 1),
        (Operation::ENABLE, 1),
        (Operation::DISABLE, 0),
        (Operation::DEVICE_INFO, 1),
        (Operation::QUERY, 1),
    ] {
        let spoil =
            |h: &mut Header| *h = Header::request(Version::V1, operation, CallFlags::ALL_OR_NOTHING, count);
        assert_eq!(refused(&fixture, spoil), Status::BAD_FLAGS, "{operation:?}");
    }
}

#[test]
fn every_reserved_byte_of_the_header_is_validated() {
    // B5
    let fixture = ServiceFixture::enabled();
    for byte in 32..64 {
        for bit in 0..8 {
            let spoil = |h: &mut Header| h.as_mut_bytes()[byte] = 1 << bit;
            assert_eq!(refused(&fixture, spoil), Status::RESERVED_NOT_ZERO, "byte {byte}");
        }
    }
}

#[test]
fn counts_beyond_the_operation_are_refused() {
    let fixture = ServiceFixture::enabled();
    for count in [0, 513, 0x8000_0000, u32::MAX] {
        assert_eq!(refused(&fixture, |h| h.count = count), Status::BAD_COUNT, "MAP of {count}");
    }
    for (operation, counts) in [
        (Operation::FEATURES, [0, 2]),
        (Operation::ENABLE, [0, 2]),
        (Operation::DISABLE, [1, 512]),
        (Operation::DEVICE_INFO, [0, 513]),
    ] {
        for count in counts {
            let spoil =
                |h: &mut Header| *h = Header::request(Version::V1, operation, CallFlags::empty(), count);
            assert_eq!(refused(&fixture, spoil), Status::BAD_COUNT, "{operation:?} of {count}");
        }
    }
}

#[test]
fn a_call_of_512_records_is_served() {
    let fixture = ServiceFixture::new();
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 2048));
    fixture.enable();
    let asked: Vec<_> = (0..512).map(|index| routed(3, index, 1, 0x51)).collect();
    let mapped = fixture.map(&asked);
    assert_eq!((mapped.status, mapped.header.done), (Status::OK, 512));
    let unmapped = fixture.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>());
    assert_eq!((unmapped.status, unmapped.header.done), (Status::OK, 512));
    fixture.assert_baseline();
}

#[test]
fn the_first_reason_in_the_order_of_the_contract_is_the_status() {
    // B6
    let fixture = ServiceFixture::new();
    let refused_headers: [(SpoilHeader, Status); 7] = [
        (|h| h.count = 0, Status::BAD_COUNT),
        (|h| h.reserved[3] = 1, Status::RESERVED_NOT_ZERO),
        (|h| h.flags = 2, Status::BAD_FLAGS),
        (|h| h.operation = Operation(77), Status::BAD_OPERATION),
        (|h| h.version = Version(7), Status::BAD_VERSION),
        (|h| h.magic = 7, Status::BAD_MAGIC),
        (|_| {}, Status::BAD_MAGIC),
    ];
    let mut spoilt = Vec::new();
    assert_eq!(refused(&fixture, |_| {}), Status::NOT_ENABLED);
    for (spoil, expected) in refused_headers {
        spoilt.push(spoil);
        // `count` is validated after the reserved bytes, which stand behind it.
        assert_eq!(refused(&fixture, |h| spoilt.iter().for_each(|spoil| spoil(h))), expected);
    }
}

#[test]
fn calls_before_enable_are_refused() {
    let fixture = ServiceFixture::new();
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY] {
        let header = Header::request(Version::V1, operation, CallFlags::empty(), 1);
        let answer = fixture.send(header, &[routed(0, 0, 0, 0x51)]);
        assert_eq!((answer.status, answer.header.epoch), (Status::NOT_ENABLED, 0), "{operation:?}");
    }
    assert_eq!(fixture.disable(), Status::NOT_ENABLED);
    assert!(fixture.platform.lock().footprint() == Footprint::default());
}
