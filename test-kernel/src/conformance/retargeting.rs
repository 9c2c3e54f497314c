//! Section 5, RETARGET.

use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Told, Verdict, ensure};
use super::{Tests, second_cpu};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::wait_until;
use crate::raw::Raw;
use pvir_guest::abi::{EntryRecord, EntryState, Features, Operation, Status};
use spin::Mutex;

pub(super) const TESTS: Tests = &[("R1", r1), ("R2", r2), ("R3", r3), ("R4", r4), ("R5", r5)];

/// Interrupts that are raised while the entry moves.
const RAISED: u32 = 300;

fn r1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let pair = line.entry.pair();
    let (record, moved) = fixture.moved(&line, Fixture::cpu_for(1));
    let got = fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    ensure!((got.pair(), got.handle) == (pair, line.entry.handle), "{pair} became {}", got.pair());
    if let Some(table) = fixture.subject(subject)?.table() {
        let now = (table.pair(0), table.is_masked(0));
        ensure!(now == (pair, false), "the table's entry was {pair} and live, and is {now:?}");
    }
    fixture.arrives(&moved)
}

/// What the helper sends by turns.
static TURNS: Mutex<Option<(Raw, [EntryRecord; 2])>> = Mutex::new(None);

/// Job: moves an entry to and fro until told to stop; how many calls were not OK.
fn move_about(_: u64) -> u64 {
    let turns = TURNS.lock();
    let Some((raw, records)) = turns.as_ref() else { return 1 };
    let mut failed = 0;
    while !second_cpu::is_over() {
        for record in records {
            let answer = raw.call(&Raw::header(Operation::RETARGET, 1), &[*record]);
            failed += u64::from(answer.status != Status::OK);
        }
    }
    failed
}

fn r2(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let (there, other) = fixture.moved(&line, Fixture::cpu_for(1));
    fixture.expect(Operation::RETARGET, &there, Status::OK)?;
    fixture.arrives(&other)?;
    second_cpu::needed()?;
    let (back, first) = fixture.moved(&other, line.cpu);
    let mut turns = TURNS.lock();
    if turns.is_none() {
        *turns = Raw::new(fixture.raw.conduit()).map(|raw| (raw, [there, back]));
    } else if let Some((_, records)) = turns.as_mut() {
        *records = [there, back];
    }
    drop(turns);
    let failed = second_cpu::meanwhile(move_about, 0, || lose_nothing(fixture, &first, &other))?;
    ensure!(failed == 0, "{failed} RETARGETs failed");
    Ok(())
}

/// Each interrupt that is raised while the entry moves arrives at one of the two places.
fn lose_nothing(fixture: &mut Fixture, one: &MappedEntry, other: &MappedEntry) -> Verdict {
    for round in 0..RAISED {
        let taken = || interrupts::count(one.cpu, one.vector) + interrupts::count(other.cpu, other.vector);
        let before = taken();
        fixture.subject(one.subject)?.raise(one.index)?;
        let came = wait_until(fixture.patience_ms, || taken() > before);
        fixture.subject(one.subject)?.acknowledge(one.index);
        ensure!(came, "interrupt {round} of {RAISED} was lost while the entry moved");
    }
    Ok(())
}

fn r3(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::PARKING, "the host does not offer PARKING")?;
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let control = fixture.neighbour(subject)?;
    fixture.arrives(&line)?;
    for _ in 0..2 {
        let got = fixture.expect(Operation::RETARGET, &Fixture::parked(&line), Status::OK)?;
        let right = (got.pair(), got.state) == (line.entry.pair(), EntryState::PARKED.bits());
        ensure!(right, "parked: pair {} state {:#x}", got.pair(), got.state);
    }
    fixture.is_silent(subject, 0, control.as_ref())?;
    let (record, moved) = fixture.moved(&line, line.cpu);
    let before = interrupts::count(moved.cpu, moved.vector);
    fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    fixture.comes(&moved, before)?;
    fixture.arrives(&moved)
}

fn r4(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    for masked in [true, false, true] {
        if let Some(table) = fixture.subject(subject)?.table() {
            table.set_masked_at_once(0, masked);
        }
        let (record, _) = fixture.moved(&line, 0);
        let got = fixture.expect(Operation::RETARGET, &record, Status::OK)?;
        ensure!(got.state == 0, "state {:#x} of RETARGET", got.state);
        let now = fixture.subject(subject)?.table().is_some_and(|table| table.is_masked(0));
        ensure!(now == masked, "the mask bit was {masked} and is {now} after RETARGET");
    }
    Ok(())
}

fn r5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msi().or_else(|_| fixture.msix())?;
    let line = fixture.line(subject, 0)?;
    let (record, _) = fixture.moved(&line, 0);
    let (_, got) = fixture.one(Operation::RETARGET, &EntryRecord { count: 2, ..record });
    // Two messages are more than the store takes, or more than were mapped.
    let refused = [Status::HANDLE_MISMATCH, Status::BAD_MESSAGE_COUNT].contains(&got.status);
    ensure!(refused, "RETARGET of two messages of one that was mapped: {}", Told(got.status));
    fixture.arrives(&line)
}
