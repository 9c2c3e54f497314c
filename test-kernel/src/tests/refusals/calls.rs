//! Calls that are refused by their header, or because of when they come.

use crate::harness::checks::Checks;
use crate::raw::Raw;
use pvir_guest::abi::{
    DeviceId, DeviceRecord, EntryRecord, FeaturesRecord, Header, MAX_RECORDS, Operation, Status, Store,
    Version,
};

const NOWHERE: DeviceId = DeviceId { segment: 0xffff, bdf: pvir_guest::abi::Bdf(0xffff) };

/// What needs ENABLE and did not have it; and what does not need it.
pub(super) fn before_enable(raw: &Raw, checks: &mut Checks) {
    let entry = EntryRecord::query(NOWHERE, Store::MSIX, 0);
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY] {
        expect(raw, checks, "before-enable", Status::NOT_ENABLED, &Raw::header(operation, 1), &entry);
    }
    expect(raw, checks, "before-enable", Status::NOT_ENABLED, &Raw::header(Operation::DISABLE, 0), &entry);
    let features = FeaturesRecord::request();
    expect(raw, checks, "before-enable", Status::OK, &Raw::header(Operation::FEATURES, 1), &features);
    let info = DeviceRecord::request(NOWHERE);
    expect(raw, checks, "before-enable", Status::PARTIAL, &Raw::header(Operation::DEVICE_INFO, 1), &info);
    let status = raw.read::<DeviceRecord>(1).status;
    checks.expect(
        "before-enable",
        status == Status::NO_DEVICE,
        format_args!("DEVICE_INFO of nobody: {status:?}"),
    );
}

/// Every field of the header, wrong.
pub(super) fn headers(raw: &Raw, checks: &mut Checks) {
    let entry = EntryRecord::query(NOWHERE, Store::MSIX, 0);
    let map = Raw::header(Operation::MAP, 1);
    let query = Raw::header(Operation::QUERY, 1);
    let wrong: [(Status, Header); 17] = [
        (Status::BAD_MAGIC, Header { magic: 0, ..map }),
        (Status::BAD_MAGIC, Header { magic: map.magic.swap_bytes(), ..map }),
        (Status::BAD_VERSION, Header { version: Version(0), ..map }),
        (Status::BAD_VERSION, Header { version: Version(u16::MAX), ..map }),
        (Status::BAD_OPERATION, Header { operation: Operation(0), ..map }),
        (Status::BAD_OPERATION, Header { operation: Operation(9), ..map }),
        (Status::BAD_OPERATION, Header { operation: Operation(u16::MAX), ..map }),
        (Status::BAD_FLAGS, Header { flags: 2, ..map }),
        (Status::BAD_FLAGS, Header { flags: 1 << 31, ..map }),
        (Status::BAD_FLAGS, Header { flags: 1, ..query }),
        (Status::RESERVED_NOT_ZERO, Header { reserved: [1, 0, 0, 0], ..map }),
        (Status::RESERVED_NOT_ZERO, Header { reserved: [0, 0, 0, 1 << 63], ..map }),
        (Status::BAD_COUNT, Header { count: 0, ..map }),
        (Status::BAD_COUNT, Header { count: MAX_RECORDS + 1, ..map }),
        (Status::BAD_COUNT, Header { count: u32::MAX, ..map }),
        (Status::BAD_COUNT, Raw::header(Operation::FEATURES, 2)),
        (Status::BAD_COUNT, Raw::header(Operation::DISABLE, 1)),
    ];
    for (expected, header) in wrong {
        expect(raw, checks, "header", expected, &header, &entry);
    }
}

fn expect<R: zerocopy::IntoBytes + zerocopy::Immutable + Clone>(
    raw: &Raw,
    checks: &mut Checks,
    name: &str,
    expected: Status,
    header: &Header,
    record: &R,
) {
    let answer = raw.call(header, core::slice::from_ref(record));
    let same = answer.header.status == answer.status;
    let told = answer.status == expected && same && (expected == Status::OK || answer.header.done == 0);
    checks.expect(name, told, format_args!("{:?} {expected:?}: {answer}", header.operation));
}
