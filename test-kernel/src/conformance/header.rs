//! Section 3: the block and its header.

use super::Tests;
use super::fixture::Fixture;
use super::records::differing;
use super::verdict::{Told, Verdict, ensure, wrong};
use crate::raw::{Raw, ram};
use pvir_guest::Conduit;
use pvir_guest::abi::{
    DeviceId, EnableRecord, EntryRecord, FeaturesRecord, GuestPhysAddr, Header, MAX_RECORDS, Operation,
    Status, Store, Version, block_len,
};

pub(super) const TESTS: Tests = &[("B1", b1), ("B4", b4), ("B6", b6)];

/// Length of a header and of a record.
const UNIT: usize = 64;

fn b1(fixture: &mut Fixture) -> Verdict {
    let raw = &fixture.raw;
    raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
    let block = raw.address().0;
    let last = ram::last_page(raw).ok_or_else(|| wrong(format_args!("the end of RAM was not found")))?;
    let places = [
        (Status::UNALIGNED, block + 1),
        (Status::UNALIGNED, block + 64),
        (Status::UNALIGNED, block + 2048),
        (Status::BAD_ADDRESS, 0xfee0_0000),
        (Status::BAD_ADDRESS, last.0 + 4096),
        (Status::BAD_ADDRESS, 0xff0_0000_0000),
        (Status::BAD_ADDRESS, u64::MAX - 4095),
    ];
    for (expected, address) in places {
        let address = GuestPhysAddr(address);
        if raw.conduit().reaches(address) {
            let status = raw.call_at(address);
            ensure!(status == expected, "a block at {address:?} gets {}, not {expected:?}", Told(status));
        }
    }
    // A block on the last page is looked at: it is refused by what stands in it.
    let no_header = Header { magic: 0, ..Raw::header(Operation::QUERY, 1) };
    if Raw::plant(last, &no_header) {
        let status = raw.call_at(last);
        ensure!(status == Status::BAD_MAGIC, "no header on the last page of RAM gets {}", Told(status));
    }
    fixture.enable()?;
    let most = fixture.discovered.host.max_records;
    if block_len(most) > 4096 && Raw::plant(last, &Raw::header(Operation::QUERY, most)) {
        let status = fixture.raw.call_at(last);
        ensure!(status == Status::BAD_ADDRESS, "a block across the end of RAM gets {}", Told(status));
    }
    let good = fixture.call(Operation::QUERY, &[EntryRecord::query(DeviceId::default(), Store::MSIX, 0)]);
    ensure!(good.status == Status::PARTIAL, "a good block after all that: {good}");
    Ok(())
}

fn b4(fixture: &mut Fixture) -> Verdict {
    let good = Raw::header(Operation::QUERY, 1);
    let wrong = [
        Header { magic: 1, ..good },
        Header { version: Version(u16::MAX), ..good },
        Header { operation: Operation(0x7777), ..good },
        Header { flags: 0x8000_0000, ..good },
        Header { reserved: [0, 0, 7, 0], ..good },
        Header { count: 0, ..good },
        good,
    ];
    for header in wrong {
        refused_untouched(fixture, &header, 0)?;
    }
    fixture.enable()?;
    let epoch = fixture.call(Operation::FEATURES, &[FeaturesRecord::request()]).header.epoch;
    refused_untouched(fixture, &Header { magic: 1, ..good }, epoch)?;
    // An ENABLE whose record was judged writes it.
    let (answer, record) = fixture.enable_with(fixture.offered(), fixture.area());
    ensure!(
        (answer.status, record.status) == (Status::ALREADY_ENABLED, Status::ALREADY_ENABLED),
        "a second ENABLE: {answer}, record {}",
        Told(record.status)
    );
    Ok(())
}

/// Sends garbage behind a bad header: only the header's status, done and epoch may be written.
fn refused_untouched(fixture: &Fixture, header: &Header, epoch: u64) -> Verdict {
    let raw = &fixture.raw;
    raw.write(header, &[[0x5a_u8; UNIT]]);
    let status = raw.call_at(raw.address());
    let got: Header = raw.read(0);
    let expected = Header { status, done: 0, epoch, ..*header };
    ensure!(status.0 < 0x40 && status != Status::OK, "{:?}: status {}", header.operation, Told(status));
    if let Some(field) = differing(&got, &expected) {
        return Err(wrong(format_args!("{status:?}: `{field}` of the header is not what it should be")));
    }
    ensure!(raw.read::<[u8; UNIT]>(1) == [0x5a; UNIT], "{status:?}: the record was written");
    Ok(())
}

fn b6(fixture: &mut Fixture) -> Verdict {
    type Fault = (Status, fn(&mut Header));
    let faults: [Fault; 6] = [
        (Status::BAD_MAGIC, |header| header.magic = 0),
        (Status::BAD_VERSION, |header| header.version = Version(u16::MAX)),
        (Status::BAD_OPERATION, |header| header.operation = Operation(0x7777)),
        (Status::BAD_FLAGS, |header| header.flags = 0x10),
        (Status::RESERVED_NOT_ZERO, |header| header.reserved[3] = 1 << 63),
        (Status::BAD_COUNT, |header| header.count = MAX_RECORDS + 1),
    ];
    // Not enabled is the last fault, and is there all the time.
    for first in 0..=faults.len() {
        let mut header = Raw::header(Operation::MAP, 1);
        faults.iter().skip(first).for_each(|(_, apply)| apply(&mut header));
        let expected = faults.get(first).map_or(Status::NOT_ENABLED, |(status, _)| *status);
        let answer = fixture.raw.call::<EntryRecord>(&header, &[]);
        ensure!(answer.status == expected, "from fault {first} on: {answer}, not {expected:?}");
    }
    let wrong_counts = [(Operation::ENABLE, 0), (Operation::ENABLE, 2), (Operation::FEATURES, 2)];
    for (operation, count) in wrong_counts {
        let answer = fixture
            .raw
            .call(&Raw::header(operation, count), &[EnableRecord::request(fixture.offered(), None)]);
        ensure!(answer.status == Status::BAD_COUNT, "{operation:?} with {count} records: {answer}");
    }
    Ok(())
}
