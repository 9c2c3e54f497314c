//! Section 9: every status that a guest can provoke.

use super::Tests;
use super::bench::Bench;
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu;
use crate::raw::{Raw, ring3};
use pvir_guest::Conduit;
use pvir_guest::abi::{
    CallFlags, EnableRecord, Features, FeaturesRecord, GuestPhysAddr, Header, MAX_RECORDS, Operation, Status,
    Version,
};

pub(super) const TESTS: Tests = &[
    ("OK", |bench| call(bench, Raw::header(Operation::FEATURES, 1), Status::OK)),
    ("BAD_ADDRESS", |bench| place(bench, GuestPhysAddr(0xfee0_0000), Status::BAD_ADDRESS)),
    ("UNALIGNED", unaligned),
    ("PRIVILEGE", privilege),
    ("BAD_MAGIC", |bench| call(bench, Header { magic: 0, ..MAP }, Status::BAD_MAGIC)),
    ("BAD_VERSION", bad_version),
    ("BAD_OPERATION", bad_operation),
    ("BAD_FLAGS", |bench| call(bench, Header { flags: 0x8000_0000, ..MAP }, Status::BAD_FLAGS)),
    ("RESERVED_NOT_ZERO", |bench| call(bench, Header { reserved: [1; 4], ..MAP }, Status::RESERVED_NOT_ZERO)),
    ("BAD_COUNT", bad_count),
    ("NOT_ENABLED", not_enabled),
    ("ALREADY_ENABLED", already_enabled),
    ("UNSUPPORTED_FEATURE", unsupported_feature),
    ("REFUSED", refused),
];

const MAP: Header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);

fn call(bench: &mut Bench, header: Header, expected: Status) -> Verdict {
    let answer = bench.raw.call(&header, &[FeaturesRecord::request()]);
    ensure!(answer.status == expected && answer.header.status == expected, "{answer}, not {expected:?}");
    Ok(())
}

fn place(bench: &mut Bench, at: GuestPhysAddr, expected: Status) -> Verdict {
    for (name, conduit) in bench.conduits.iter().filter(|(_, conduit)| conduit.reaches(at)) {
        let status = bench.raw.by(*conduit).call_at(at);
        ensure!(status == expected, "{name}, a block at {at:?}: {status:?}, not {expected:?}");
    }
    Ok(())
}

fn unaligned(bench: &mut Bench) -> Verdict {
    let at = GuestPhysAddr(bench.raw.address().0 + 64);
    if !bench.conduits.iter().any(|(_, conduit)| conduit.reaches(at)) {
        return Err(Finding::CannotShow("a port carries page numbers"));
    }
    place(bench, at, Status::UNALIGNED)
}

fn privilege(bench: &mut Bench) -> Verdict {
    let mut answered = false;
    let mut right = true;
    ring3::each(&bench.raw, &bench.discovered, |attempt| {
        answered |= matches!(attempt.outcome, cpu::usermode::Outcome::Returned(_));
        right &= attempt.is_refused();
    });
    ensure!(right, "a call from ring 3 was carried out");
    if answered {
        Ok(())
    } else {
        Err(Finding::CannotShow("the processor refuses every call from ring 3 by itself"))
    }
}

fn bad_version(bench: &mut Bench) -> Verdict {
    let newest = bench.discovered.host.newest;
    for version in [Version(0), Version(newest.0.saturating_add(1)), Version(u16::MAX)] {
        call(bench, Header { version, ..MAP }, Status::BAD_VERSION)?;
    }
    Ok(())
}

fn bad_operation(bench: &mut Bench) -> Verdict {
    for operation in [0, 9, 0x100, u16::MAX] {
        call(bench, Header { operation: Operation(operation), ..MAP }, Status::BAD_OPERATION)?;
    }
    Ok(())
}

fn bad_count(bench: &mut Bench) -> Verdict {
    let most = bench.discovered.host.max_records;
    for count in [0, most + 1, MAX_RECORDS + 1, u32::MAX] {
        call(bench, Header { count, ..MAP }, Status::BAD_COUNT)?;
    }
    call(bench, Raw::header(Operation::DISABLE, 1), Status::BAD_COUNT)
}

fn not_enabled(bench: &mut Bench) -> Verdict {
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY] {
        call(bench, Raw::header(operation, 1), Status::NOT_ENABLED)?;
    }
    call(bench, Raw::header(Operation::DISABLE, 0), Status::NOT_ENABLED)
}

fn already_enabled(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let (answer, _) = bench.enable_with(bench.offered(), bench.area());
    ensure!(answer.status == Status::ALREADY_ENABLED, "{answer}");
    Ok(())
}

fn unsupported_feature(bench: &mut Bench) -> Verdict {
    let unknown = EnableRecord::request(Features::from_bits_retain(1 << 62), None);
    let (answer, record) = bench.one(Operation::ENABLE, &unknown);
    ensure!(record.status == Status::UNSUPPORTED_FEATURE, "{answer}");
    Ok(())
}

fn refused(bench: &mut Bench) -> Verdict {
    let (answer, _) = bench.enable_with(bench.offered(), bench.area());
    match answer.status {
        Status::REFUSED => Ok(()),
        _ => Err(Finding::CannotShow("this host refuses nothing")),
    }
}
