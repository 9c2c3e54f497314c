//! Section 5, RETARGET.

use super::bench::{Bench, Line};
use super::verdict::{Verdict, ensure};
use super::{Tests, elsewhere};
use crate::cpu::interrupts;
use crate::cpu::time::wait_until;
use crate::raw::Raw;
use pvir_guest::abi::{EntryRecord, EntryState, Features, Operation, Status};
use spin::Mutex;

pub(super) const TESTS: Tests = &[("R1", r1), ("R2", r2), ("R3", r3), ("R4", r4), ("R5", r5)];

/// Interrupts that are raised while the entry moves.
const RAISED: u32 = 300;

fn r1(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    let pair = line.entry.pair();
    let (record, moved) = bench.moved(&line, Bench::cpu_for(1));
    let got = bench.expect(Operation::RETARGET, &record, Status::OK)?;
    ensure!((got.pair(), got.handle) == (pair, line.entry.handle), "{pair} became {}", got.pair());
    if let Some(table) = bench.subject(subject)?.table() {
        let now = (table.pair(0), table.is_masked(0));
        ensure!(now == (pair, false), "the table's entry was {pair} and live, and is {now:?}");
    }
    bench.arrives(&moved)
}

/// What the helper sends by turns.
static TURNS: Mutex<Option<(Raw, [EntryRecord; 2])>> = Mutex::new(None);

/// Job: moves an entry to and fro until told to stop; how many calls were not OK.
fn move_about(_: u64) -> u64 {
    let turns = TURNS.lock();
    let Some((raw, records)) = turns.as_ref() else { return 1 };
    let mut failed = 0;
    while !elsewhere::is_over() {
        for record in records {
            let answer = raw.call(&Raw::header(Operation::RETARGET, 1), &[*record]);
            failed += u64::from(answer.status != Status::OK);
        }
    }
    failed
}

fn r2(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    let (there, other) = bench.moved(&line, Bench::cpu_for(1));
    bench.expect(Operation::RETARGET, &there, Status::OK)?;
    bench.arrives(&other)?;
    elsewhere::needed()?;
    let (back, first) = bench.moved(&other, line.cpu);
    let mut turns = TURNS.lock();
    if turns.is_none() {
        *turns = Raw::new(bench.raw.conduit()).map(|raw| (raw, [there, back]));
    } else if let Some((_, records)) = turns.as_mut() {
        *records = [there, back];
    }
    drop(turns);
    let failed = elsewhere::meanwhile(move_about, 0, || lose_nothing(bench, &first, &other))?;
    ensure!(failed == 0, "{failed} RETARGETs failed");
    Ok(())
}

/// Each interrupt that is raised while the entry moves arrives at one of the two places.
fn lose_nothing(bench: &mut Bench, one: &Line, other: &Line) -> Verdict {
    for round in 0..RAISED {
        let taken = || interrupts::count(one.cpu, one.vector) + interrupts::count(other.cpu, other.vector);
        let before = taken();
        bench.subject(one.subject)?.raise(one.index);
        let came = wait_until(bench.patience_ms, || taken() > before);
        bench.subject(one.subject)?.acknowledge(one.index);
        ensure!(came, "interrupt {round} of {RAISED} was lost while the entry moved");
    }
    Ok(())
}

fn r3(bench: &mut Bench) -> Verdict {
    bench.needs(Features::PARKING, "the host does not offer PARKING")?;
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    let control = if bench.msix().is_ok() { Some(bench.line(subject, 1)?) } else { None };
    bench.arrives(&line)?;
    for _ in 0..2 {
        let got = bench.expect(Operation::RETARGET, &Bench::parked(&line), Status::OK)?;
        let right = (got.pair(), got.state) == (line.entry.pair(), EntryState::PARKED.bits());
        ensure!(right, "parked: pair {} state {:#x}", got.pair(), got.state);
    }
    bench.is_silent(subject, 0, control.as_ref())?;
    let (record, moved) = bench.moved(&line, line.cpu);
    let before = interrupts::count(moved.cpu, moved.vector);
    bench.expect(Operation::RETARGET, &record, Status::OK)?;
    bench.comes(&moved, before)?;
    bench.arrives(&moved)
}

fn r4(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    let line = bench.line(subject, 0)?;
    for masked in [true, false, true] {
        if let Some(table) = bench.subject(subject)?.table() {
            table.set_masked(0, masked);
        }
        let (record, _) = bench.moved(&line, 0);
        let got = bench.expect(Operation::RETARGET, &record, Status::OK)?;
        ensure!(got.state == 0, "state {:#x} of RETARGET", got.state);
        let now = bench.subject(subject)?.table().is_some_and(|table| table.is_masked(0));
        ensure!(now == masked, "the mask bit was {masked} and is {now} after RETARGET");
    }
    Ok(())
}

fn r5(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msi().or_else(|_| bench.msix())?;
    let line = bench.line(subject, 0)?;
    let (record, _) = bench.moved(&line, 0);
    let (_, got) = bench.one(Operation::RETARGET, &EntryRecord { count: 2, ..record });
    // Two messages are more than the store takes, or more than were mapped.
    let refused = [Status::HANDLE_MISMATCH, Status::BAD_MESSAGE_COUNT].contains(&got.status);
    ensure!(refused, "RETARGET of two messages of one that was mapped: {:?}", got.status);
    bench.arrives(&line)
}
