//! Section 5, UNMAP and QUERY, and section 6, handles.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Verdict, ensure};
use crate::machine::cpu::interrupts;
use arrayvec::ArrayVec;
use pvir_guest::abi::{Arch, EntryRecord, EntryState, Features, Handle, Operation, Routing, Status};

pub(super) const TESTS: Tests = &[("U1", u1), ("U2", u2), ("Q1", q1), ("Q2", q2), ("H1", h1), ("H2", h2)];

/// How often an entry is mapped and given back.
const ROUNDS: usize = 64;

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
    fixture.arrives(&line)
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
    Ok(())
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
