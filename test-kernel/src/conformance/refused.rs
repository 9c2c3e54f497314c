//! Entries that are refused: alone, beside a good one, and with features that were not taken.

use super::fixture::Fixture;
use super::verdict::{Finding, Told, Verdict, ensure, wrong};
use pvir_guest::abi::{EntryRecord, Features, Operation, Routing, Status};

/// Enabled, and a good MAP of entry 0.
pub(super) fn good(fixture: &mut Fixture) -> Result<(usize, EntryRecord), Finding> {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    Ok((subject, request))
}

/// Enabled anew, with all that is offered but these.
pub(super) fn enable_without(fixture: &mut Fixture, features: Features) -> Verdict {
    fixture.reset();
    let taken = fixture.offered().difference(features);
    let (answer, _) = fixture.enable_with(taken, fixture.area());
    match answer.status {
        Status::OK => Ok(()),
        Status::REFUSED => Err(Finding::CannotShow("the host refuses ENABLE")),
        _ => Err(wrong(format_args!("ENABLE with {:#x}: {answer}", taken.bits()))),
    }
}

/// MAPs of entry 0, changed, beside which nothing may be mapped.
pub(super) fn maps(fixture: &mut Fixture, expected: Status, changes: &[fn(&mut EntryRecord)]) -> Verdict {
    let (subject, good) = good(fixture)?;
    for change in changes {
        let mut record = good;
        change(&mut record);
        fixture.expect(Operation::MAP, &record, expected)?;
    }
    let held = fixture.features().irtes;
    ensure!(held == 0, "{held} IRTEs are held after {expected:?}");
    let records = changes.iter().map(|change| {
        let mut record = good;
        change(&mut record);
        record
    });
    beside_a_good_one(fixture, subject, expected, records)
}

/// Each record, refused beside a good one of another entry, which is carried out all the same; and nothing is left of it.
pub(super) fn beside_a_good_one(
    fixture: &mut Fixture,
    subject: usize,
    expected: Status,
    records: impl Iterator<Item = EntryRecord>,
) -> Verdict {
    if !fixture.has_entry(subject, 1) || fixture.needs_records(2).is_err() {
        return Ok(()); // one entry has no neighbour, and one record stands alone
    }
    let (neighbour, ..) = fixture.request(subject, 1)?;
    fixture.expect(Operation::MAP, &neighbour, Status::OK)?;
    let before = fixture.features().irtes;
    for record in records {
        let answer = fixture.call(Operation::MAP, &[neighbour, record]);
        let [first, second]: [EntryRecord; 2] = [fixture.raw.read(1), fixture.raw.read(2)];
        let told = (answer.status, answer.header.done, first.status) == (Status::PARTIAL, 1, Status::OK);
        ensure!(told, "a good record and one that is refused: {answer}, {}", Told(first.status));
        ensure!(second.status == expected, "beside a good record: {}, not {expected:?}", Told(second.status));
        let silent = second.address == 0 && second.handle == record.handle;
        ensure!(silent, "{expected:?}, and yet address {:#x} handle {}", second.address, second.handle);
        let held = fixture.features().irtes;
        ensure!(held == before, "{held} IRTEs are held after {expected:?}, {before} before");
    }
    Ok(())
}

/// MAPs and RETARGETs with changed routings, with all features taken.
pub(super) fn routed(fixture: &mut Fixture, expected: Status, changes: &[fn(&mut Routing)]) -> Verdict {
    fixture.enable()?;
    routed_as_enabled(fixture, expected, changes)
}

/// MAPs and RETARGETs with changed routings, with those features that are taken now.
pub(super) fn routed_as_enabled(
    fixture: &mut Fixture,
    expected: Status,
    changes: &[fn(&mut Routing)],
) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (good, ..) = fixture.request(subject, 0)?;
    let changed = |change: &fn(&mut Routing)| {
        let mut record = good;
        change(&mut record.routing);
        record
    };
    for record in changes.iter().map(changed) {
        fixture.expect(Operation::MAP, &record, expected)?;
    }
    beside_a_good_one(fixture, subject, expected, changes.iter().map(changed))?;
    // Of an entry that is mapped too.
    let mapped = fixture.expect(Operation::MAP, &good, Status::OK)?;
    for record in changes.iter().map(changed) {
        fixture.expect(Operation::RETARGET, &record.with_handle(mapped.handle), expected)?;
    }
    Ok(())
}
