//! Section 5, UNMAP and QUERY, and section 6, handles.

use super::Tests;
use super::bench::{Bench, Line};
use super::verdict::{Verdict, ensure};
use crate::cpu::interrupts;
use arrayvec::ArrayVec;
use pvir_guest::abi::{Arch, EntryRecord, EntryState, Features, Handle, Operation, Routing, Status};

pub(super) const TESTS: Tests = &[("U1", u1), ("U2", u2), ("Q1", q1), ("Q2", q2), ("H1", h1), ("H2", h2)];

/// How often an entry is mapped and given back.
const ROUNDS: usize = 64;

/// A line to be given back, and one that stays, where the device has two.
fn lines(bench: &mut Bench) -> Result<(Line, Option<Line>), super::verdict::Finding> {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    let other = if bench.msix().is_ok() { Some(bench.line(subject, 1)?) } else { None };
    bench.arrives(&line)?;
    Ok((line, other))
}

fn u1(bench: &mut Bench) -> Verdict {
    let (line, other) = lines(bench)?;
    // Not masked before: it is the host that must make an end of it.
    let got = bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::OK)?;
    let bare = (got.address, got.data, got.state) == (0, 0, 0);
    ensure!(bare, "UNMAP answers {:#x} {:#x} {:#x}", got.address, got.data, got.state);
    bench.is_silent(line.subject, line.index, other.as_ref())?;
    other.map_or(Ok(()), |other| bench.arrives(&other))
}

fn u2(bench: &mut Bench) -> Verdict {
    let (line, other) = lines(bench)?;
    bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::OK)?;
    if let Some(table) = bench.subject(line.subject)?.table() {
        ensure!(table.is_masked(0), "the entry is not masked after UNMAP");
        table.set_pair(0, line.entry.pair());
        table.set_masked(0, false);
        bench.is_silent(line.subject, line.index, other.as_ref())?;
        bench.subject(line.subject)?.table().inspect(|table| table.set_masked(0, true));
    }
    bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::STALE_HANDLE)?;
    bench.expect(Operation::QUERY, &Bench::bare(&line), Status::STALE_HANDLE)?;
    Ok(())
}

fn q1(bench: &mut Bench) -> Verdict {
    let (line, other) = lines(bench)?;
    let before = (bench.features(), bench.call(Operation::FEATURES, &[bench.features()]).header.epoch);
    let first = bench.expect(Operation::QUERY, &Bench::bare(&line), Status::OK)?;
    let second = bench.expect(Operation::QUERY, &Bench::bare(&line), Status::OK)?;
    ensure!(first == second, "two QUERYs in a row differ");
    let unnamed = EntryRecord { handle: Handle::NONE, ..Bench::bare(&line) };
    let third = bench.expect(Operation::QUERY, &unnamed, Status::OK)?;
    ensure!(third.handle == line.entry.handle, "QUERY without a handle answers {}", third.handle);
    if other.is_some() {
        bench.expect(Operation::QUERY, &EntryRecord { index: 2, ..unnamed }, Status::STALE_HANDLE)?;
    }
    let after = (bench.features(), bench.call(Operation::FEATURES, &[bench.features()]).header.epoch);
    ensure!(before == after, "QUERY changed something: {before:x?} {after:x?}");
    bench.arrives(&line)
}

fn q2(bench: &mut Bench) -> Verdict {
    let (line, _) = lines(bench)?;
    let held = bench.expect(Operation::QUERY, &Bench::bare(&line), Status::OK)?;
    says(&held, &line, Bench::route(line.cpu, line.vector), EntryState::empty())?;
    let (record, moved) = bench.moved(&line, Bench::cpu_for(1));
    bench.expect(Operation::RETARGET, &record, Status::OK)?;
    let held = bench.expect(Operation::QUERY, &Bench::bare(&moved), Status::OK)?;
    says(&held, &moved, Bench::route(moved.cpu, moved.vector), EntryState::empty())?;
    if bench.offered().contains(Features::PARKING) {
        bench.expect(Operation::RETARGET, &Bench::parked(&line), Status::OK)?;
        let held = bench.expect(Operation::QUERY, &Bench::bare(&line), Status::OK)?;
        says(&held, &line, Routing::default(), EntryState::PARKED)?;
    }
    Ok(())
}

fn says(held: &EntryRecord, line: &Line, routing: Routing, state: EntryState) -> Verdict {
    let arch = if state.contains(EntryState::PARKED) { Arch(0) } else { Arch::X86_APIC };
    let said = (held.handle, held.pair(), held.arch, held.routing, held.state);
    let expected = (line.entry.handle, line.entry.pair(), arch, routing, state.bits());
    ensure!(said == expected, "QUERY says {said:x?}");
    Ok(())
}

fn h1(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let (request, ..) = bench.request(subject, 0)?;
    let mut given = ArrayVec::<Handle, ROUNDS>::new();
    for _ in 0..ROUNDS {
        let handle = bench.expect(Operation::MAP, &request, Status::OK)?.handle;
        ensure!(handle != Handle::NONE, "a handle of 0");
        ensure!(!given.contains(&handle), "handle {handle} was given twice");
        given.push(handle);
        if given.len() == ROUNDS / 2 {
            // An epoch later too.
            bench.disable()?;
            bench.enable()?;
        } else {
            let bare = EntryRecord::query(request.device, request.store, 0).with_handle(handle);
            bench.expect(Operation::UNMAP, &bare, Status::OK)?;
        }
    }
    Ok(())
}

fn h2(bench: &mut Bench) -> Verdict {
    let (old, _) = lines(bench)?;
    bench.disable()?;
    bench.enable()?;
    let subject = old.subject;
    // The slot of the old handle is likely to be used again.
    let line = bench.line(subject, 0)?;
    bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::OK)?;
    let released = line;
    let line = bench.line(subject, 0)?;
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
        let record = Bench::bare(&line).with_handle(handle);
        let (moved, _) = bench.moved(&line, 0);
        bench.expect(Operation::QUERY, &record, stale)?;
        bench.expect(Operation::RETARGET, &moved.with_handle(handle), stale)?;
        bench.expect(Operation::UNMAP, &record, stale)?;
    }
    let (moved, _) = bench.moved(&line, 0);
    bench.expect(Operation::UNMAP, &Bench::bare(&line).with_handle(Handle::NONE), stale)?;
    bench.expect(Operation::RETARGET, &moved.with_handle(Handle::NONE), stale)?;
    if bench.msix().is_ok() {
        for operation in [Operation::QUERY, Operation::UNMAP] {
            let wrong = EntryRecord { index: 1, ..Bench::bare(&line) };
            bench.expect(operation, &wrong, Status::HANDLE_MISMATCH)?;
        }
        bench.expect(Operation::RETARGET, &EntryRecord { index: 1, ..moved }, Status::HANDLE_MISMATCH)?;
    }
    let before = interrupts::grand_total();
    bench.nothing_came(before, None)?;
    bench.arrives(&line)
}
