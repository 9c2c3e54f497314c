//! Section 9: every status that a guest can provoke.

use super::fixture::Fixture;
use super::verdict::{Finding, Told, Verdict, ensure};
use super::{Tests, entry_statuses};
use crate::machine::cpu;
use crate::raw::{Raw, ring3};
use pvir_guest::Conduit;
use pvir_guest::abi::{
    CallFlags, EnableRecord, Features, FeaturesRecord, GuestPhysAddr, Header, MAX_RECORDS, Operation, Status,
    Version,
};

pub(super) const TESTS: Tests = &[
    ("OK", |fixture| call(fixture, Raw::header(Operation::FEATURES, 1), Status::OK)),
    ("BAD_ADDRESS", |fixture| place(fixture, GuestPhysAddr(0xfee0_0000), Status::BAD_ADDRESS)),
    ("UNALIGNED", unaligned),
    ("PRIVILEGE", privilege),
    ("BAD_MAGIC", bad_magic),
    ("BAD_VERSION", bad_version),
    ("BAD_OPERATION", bad_operation),
    ("BAD_FLAGS", bad_flags),
    ("RESERVED_NOT_ZERO", reserved_not_zero),
    ("BAD_COUNT", bad_count),
    ("NOT_ENABLED", not_enabled),
    ("ALREADY_ENABLED", already_enabled),
    ("UNSUPPORTED_FEATURE", unsupported_feature),
    ("REFUSED", refused),
    ("BAD_NOTIFY", bad_notify),
];

const MAP: Header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);

fn call(fixture: &mut Fixture, header: Header, expected: Status) -> Verdict {
    let answer = fixture.raw.call(&header, &[FeaturesRecord::request()]);
    let told = (answer.status, answer.header.status) == (expected, expected);
    ensure!(told && (expected == Status::OK || answer.header.done == 0), "{answer}, not {expected:?}");
    Ok(())
}

fn place(fixture: &mut Fixture, at: GuestPhysAddr, expected: Status) -> Verdict {
    for (name, conduit) in fixture.conduits.iter().filter(|(_, conduit)| conduit.reaches(at)) {
        let status = fixture.raw.by(*conduit).call_at(at);
        ensure!(status == expected, "{name}, a block at {at:?}: {}, not {expected:?}", Told(status));
    }
    Ok(())
}

fn unaligned(fixture: &mut Fixture) -> Verdict {
    let at = GuestPhysAddr(fixture.raw.address().0 + 64);
    if !fixture.conduits.iter().any(|(_, conduit)| conduit.reaches(at)) {
        return Err(Finding::CannotShow("a port carries page numbers"));
    }
    place(fixture, at, Status::UNALIGNED)
}

fn privilege(fixture: &mut Fixture) -> Verdict {
    let mut answered = false;
    let mut right = true;
    ring3::each(&fixture.raw, &fixture.discovered, |attempt| {
        let returned = matches!(attempt.outcome, cpu::usermode::Outcome::Returned(_));
        answered |= returned && !attempt.is_by_hypervisor();
        right &= attempt.is_refused();
    });
    ensure!(right, "a call from ring 3 was carried out");
    if answered {
        Ok(())
    } else {
        Err(Finding::CannotShow("the processor or KVM refuses every call from ring 3 by itself"))
    }
}

fn bad_magic(fixture: &mut Fixture) -> Verdict {
    for magic in [0, MAP.magic.swap_bytes()] {
        call(fixture, Header { magic, ..MAP }, Status::BAD_MAGIC)?;
    }
    Ok(())
}

fn bad_flags(fixture: &mut Fixture) -> Verdict {
    call(fixture, Header { flags: 0x8000_0000, ..MAP }, Status::BAD_FLAGS)?;
    entry_statuses::bad_flags(fixture)
}

fn reserved_not_zero(fixture: &mut Fixture) -> Verdict {
    for reserved in [[1; 4], [1, 0, 0, 0], [0, 0, 0, 1 << 63]] {
        call(fixture, Header { reserved, ..MAP }, Status::RESERVED_NOT_ZERO)?;
    }
    entry_statuses::reserved_not_zero(fixture)
}

fn bad_version(fixture: &mut Fixture) -> Verdict {
    let newest = fixture.discovered.host.newest;
    for version in [Version(0), Version(newest.0.saturating_add(1)), Version(u16::MAX)] {
        call(fixture, Header { version, ..MAP }, Status::BAD_VERSION)?;
    }
    Ok(())
}

fn bad_operation(fixture: &mut Fixture) -> Verdict {
    for operation in [0, 9, 0x100, u16::MAX] {
        call(fixture, Header { operation: Operation(operation), ..MAP }, Status::BAD_OPERATION)?;
    }
    Ok(())
}

fn bad_count(fixture: &mut Fixture) -> Verdict {
    let max_records = fixture.discovered.host.max_records;
    for count in [0, max_records + 1, MAX_RECORDS + 1, u32::MAX] {
        call(fixture, Header { count, ..MAP }, Status::BAD_COUNT)?;
    }
    call(fixture, Raw::header(Operation::DISABLE, 1), Status::BAD_COUNT)
}

fn not_enabled(fixture: &mut Fixture) -> Verdict {
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY] {
        call(fixture, Raw::header(operation, 1), Status::NOT_ENABLED)?;
    }
    call(fixture, Raw::header(Operation::DISABLE, 0), Status::NOT_ENABLED)
}

fn already_enabled(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
    ensure!(answer.status == Status::ALREADY_ENABLED, "{answer}");
    Ok(())
}

fn unsupported_feature(fixture: &mut Fixture) -> Verdict {
    let unknown = EnableRecord::request(Features::from_bits_retain(1 << 62), None);
    let (answer, record) = fixture.one(Operation::ENABLE, &unknown);
    ensure!(record.status == Status::UNSUPPORTED_FEATURE, "{answer}");
    Ok(())
}

fn refused(fixture: &mut Fixture) -> Verdict {
    let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
    match answer.status {
        Status::REFUSED => Ok(()),
        _ => Err(Finding::CannotShow("this host refuses nothing")),
    }
}

fn bad_notify(fixture: &mut Fixture) -> Verdict {
    if !fixture.discovered.host.features.contains(Features::NOTIFY | Features::EPOCH) {
        return Err(Finding::CannotShow("the host does not offer NOTIFY"));
    }
    let features = Features::NOTIFY | Features::EPOCH;
    let record = EnableRecord { notify_vector: 31, ..EnableRecord::request(features, None) };
    let (answer, got) = fixture.one(Operation::ENABLE, &record);
    let told = (answer.status, got.status) == (Status::BAD_NOTIFY, Status::BAD_NOTIFY);
    ensure!(told, "vector 31 for announcements: {answer}, record {}", Told(got.status));
    Ok(())
}
