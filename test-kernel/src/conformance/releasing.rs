//! Section 5, UNMAP and QUERY, and section 6, handles.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Verdict, ensure};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::wait_until;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    Arch, DeviceFlags, DeviceRecord, EntryRecord, EntryState, Features, Handle, Operation, Routing, Status,
};

pub(super) const TESTS: Tests = &[("U1", u1), ("U2", u2), ("Q1", q1), ("Q2", q2), ("H1", h1), ("H2", h2)];

/// How often an entry is mapped and given back.
const ROUNDS: usize = 64;
/// Milliseconds for handles that might come again.
const AGAIN_MS: u64 = 3_000;

/// A line to be given back, and one that stays, where the device has two.
fn lines(fixture: &mut Fixture) -> Result<(MappedEntry, Option<MappedEntry>), super::verdict::Finding> {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let other = fixture.neighbour(subject)?;
    fixture.arrives(&line)?;
    Ok((line, other))
}

fn u1(fixture: &mut Fixture) -> Verdict {
    let (line, other) = lines(fixture)?;
    // Not masked before: it is the host that must make an end of it.
    let got = fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::OK)?;
    let bare = (got.address, got.data, got.state) == (0, 0, 0);
    ensure!(bare, "UNMAP answers {:#x} {:#x} {:#x}", got.address, got.data, got.state);
    fixture.is_silent(line.subject, line.index, other.as_ref())?;
    other.map_or(Ok(()), |other| fixture.arrives(&other))
}

fn u2(fixture: &mut Fixture) -> Verdict {
    let (line, other) = lines(fixture)?;
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::OK)?;
    if let Some(table) = fixture.subject(line.subject)?.table() {
        ensure!(table.is_masked(0), "the entry is not masked after UNMAP");
        table.set_pair(0, line.entry.pair());
        table.set_masked_at_once(0, false);
        fixture.is_silent(line.subject, line.index, other.as_ref())?;
        fixture.subject(line.subject)?.table().inspect(|table| table.set_masked_at_once(0, true));
    }
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    given_again(fixture, &line, other.as_ref())
}

/// A host that makes its pairs itself keeps an old one dead, also when the same entry is mapped again.
fn given_again(fixture: &mut Fixture, old: &MappedEntry, control: Option<&MappedEntry>) -> Verdict {
    let id = fixture.subject(old.subject)?.id;
    let info = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id)).1;
    let own_pairs = info.flags & DeviceFlags::EMULATED.bits() != 0;
    if !own_pairs || fixture.subject(old.subject)?.table().is_none() {
        return Ok(()); // the pair may be that of another entry of the same device
    }
    for _ in 0..3 {
        let now = fixture.line(old.subject, old.index)?;
        fixture.subject(old.subject)?.program(old.index, old.entry.pair());
        ensure!(now.entry.pair() != old.entry.pair(), "the pair {} was given again", old.entry.pair());
        fixture.is_silent(old.subject, old.index, control)?;
        fixture.subject(old.subject)?.program(old.index, now.entry.pair());
        fixture.arrives(&now)?;
        fixture.subject(old.subject)?.silence();
        if let Some(control) = control {
            fixture.subject(control.subject)?.program(control.index, control.entry.pair());
        }
        fixture.expect(Operation::UNMAP, &Fixture::bare(&now), Status::OK)?;
    }
    Ok(())
}

fn q1(fixture: &mut Fixture) -> Verdict {
    let (line, other) = lines(fixture)?;
    let before = (fixture.features(), fixture.call(Operation::FEATURES, &[fixture.features()]).header.epoch);
    let first = fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    let second = fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    ensure!(first == second, "two QUERYs in a row differ");
    let unnamed = EntryRecord { handle: Handle::NONE, ..Fixture::bare(&line) };
    let third = fixture.expect(Operation::QUERY, &unnamed, Status::OK)?;
    ensure!(third.handle == line.entry.handle, "QUERY without a handle answers {}", third.handle);
    // By a handle it is judged as every other operation: this one is live, and of another entry.
    if let Some(other) = &other {
        let foreign = Fixture::bare(&line).with_handle(other.entry.handle);
        fixture.expect(Operation::QUERY, &foreign, Status::HANDLE_MISMATCH)?;
    }
    if fixture.has_entry(line.subject, 2) {
        fixture.expect(Operation::QUERY, &EntryRecord { index: 2, ..unnamed }, Status::STALE_HANDLE)?;
    }
    let after = (fixture.features(), fixture.call(Operation::FEATURES, &[fixture.features()]).header.epoch);
    ensure!(before == after, "QUERY changed something: {before:x?} {after:x?}");
    fixture.arrives(&line)?;
    another_count(fixture)
}

/// An entry that is mapped with another count is not found by its name, and not meant by its handle.
fn another_count(fixture: &mut Fixture) -> Verdict {
    let Ok(subject) = fixture.msi() else { return Ok(()) };
    let id = fixture.subject(subject)?.id;
    let messages = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id)).1.msi_messages;
    if messages < 2 || !fixture.offered().contains(Features::MSI_MULTI) {
        return Ok(()); // every other count is one that the store does not take
    }
    // It may be the device of before, with the same entry.
    fixture.reset();
    fixture.enable()?;
    let (request, ..) = fixture.request(subject, 0)?;
    let mapped = fixture.expect(Operation::MAP, &request, Status::OK)?;
    let bare = EntryRecord { count: 2, ..EntryRecord::query(request.device, request.store, 0) };
    fixture.expect(Operation::QUERY, &bare, Status::STALE_HANDLE)?;
    fixture.expect(Operation::QUERY, &bare.with_handle(mapped.handle), Status::HANDLE_MISMATCH)?;
    Ok(())
}

fn q2(fixture: &mut Fixture) -> Verdict {
    let (line, _) = lines(fixture)?;
    let held = fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    says(&held, &line, Fixture::route(line.cpu, line.vector), EntryState::empty())?;
    let (record, moved) = fixture.moved(&line, Fixture::cpu_for(1));
    fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    let held = fixture.expect(Operation::QUERY, &Fixture::bare(&moved), Status::OK)?;
    says(&held, &moved, Fixture::route(moved.cpu, moved.vector), EntryState::empty())?;
    if fixture.offered().contains(Features::PARKING) {
        fixture.expect(Operation::RETARGET, &Fixture::parked(&line), Status::OK)?;
        let held = fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
        says(&held, &line, Routing::default(), EntryState::PARKED)?;
    }
    Ok(())
}

fn says(held: &EntryRecord, line: &MappedEntry, routing: Routing, state: EntryState) -> Verdict {
    let arch = if state.contains(EntryState::PARKED) { Arch(0) } else { Arch::X86_APIC };
    let said = (held.handle, held.pair(), held.arch, held.routing, held.state);
    let expected = (line.entry.handle, line.entry.pair(), arch, routing, state.bits());
    ensure!(said == expected, "QUERY says {said:x?}");
    Ok(())
}

fn h1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    let mut given = ArrayVec::<Handle, ROUNDS>::new();
    for _ in 0..ROUNDS {
        let handle = fixture.expect(Operation::MAP, &request, Status::OK)?.handle;
        ensure!(handle != Handle::NONE, "a handle of 0");
        ensure!(!given.contains(&handle), "handle {handle} was given twice");
        given.push(handle);
        if given.len() == ROUNDS / 2 {
            // An epoch later too.
            fixture.disable()?;
            fixture.enable()?;
        } else {
            let bare = EntryRecord::query(request.device, request.store, 0).with_handle(handle);
            fixture.expect(Operation::UNMAP, &bare, Status::OK)?;
        }
    }
    none_comes_again(fixture, &request, &given)
}

/// A host that takes the next slot each time comes to a slot again after all others: no generation, and the handle is one of
/// before. As many rounds as there are slots, or as many as the time allows.
fn none_comes_again(fixture: &mut Fixture, request: &EntryRecord, given: &[Handle]) -> Verdict {
    fixture.disable()?;
    fixture.enable()?;
    let rounds = fixture.features().max_irtes.saturating_add(1);
    let (mut round, mut verdict) = (0, Ok(()));
    wait_until(AGAIN_MS, || {
        verdict = given_anew(fixture, request, given);
        round += 1;
        round >= rounds || verdict.is_err()
    });
    verdict
}

fn given_anew(fixture: &mut Fixture, request: &EntryRecord, given: &[Handle]) -> Verdict {
    let handle = fixture.expect(Operation::MAP, request, Status::OK)?.handle;
    ensure!(!given.contains(&handle), "handle {handle} was given again, much later");
    let bare = EntryRecord::query(request.device, request.store, 0).with_handle(handle);
    fixture.expect(Operation::UNMAP, &bare, Status::OK).map(|_| ())
}

fn h2(fixture: &mut Fixture) -> Verdict {
    let (old, _) = lines(fixture)?;
    fixture.disable()?;
    fixture.enable()?;
    let subject = old.subject;
    // The slot of the old handle is likely to be used again.
    let line = fixture.line(subject, 0)?;
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::OK)?;
    let released = line;
    let line = fixture.line(subject, 0)?;
    let live = line.entry.handle;
    let stale = Status::STALE_HANDLE;
    let handles = [
        old.entry.handle,
        released.entry.handle,
        Handle(live.0 ^ 1 << 32),
        Handle(live.0 ^ 1 << 16),
        Handle(live.0 | 0xffff << 48),
        Handle(u64::MAX),
    ];
    for handle in handles {
        let record = Fixture::bare(&line).with_handle(handle);
        let (moved, _) = fixture.moved(&line, 0);
        fixture.expect(Operation::QUERY, &record, stale)?;
        fixture.expect(Operation::RETARGET, &moved.with_handle(handle), stale)?;
        fixture.expect(Operation::UNMAP, &record, stale)?;
    }
    let (moved, _) = fixture.moved(&line, 0);
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line).with_handle(Handle::NONE), stale)?;
    fixture.expect(Operation::RETARGET, &moved.with_handle(Handle::NONE), stale)?;
    if fixture.has_entry(subject, 1) {
        for operation in [Operation::QUERY, Operation::UNMAP] {
            let wrong = EntryRecord { index: 1, ..Fixture::bare(&line) };
            fixture.expect(operation, &wrong, Status::HANDLE_MISMATCH)?;
        }
        fixture.expect(Operation::RETARGET, &EntryRecord { index: 1, ..moved }, Status::HANDLE_MISMATCH)?;
    }
    let before = interrupts::grand_total();
    fixture.nothing_came(before, None)?;
    fixture.arrives(&line)
}
