//! Section 5, MAP.

use super::Tests;
use super::bench::{Bench, Line};
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu::interrupts;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    DeviceFlags, DeviceRecord, EntryRecord, EntryState, Features, Operation, Pair, Routing, Status,
};

pub(super) const TESTS: Tests =
    &[("M1", m1), ("M2", m2), ("M3", m3), ("M4", m4), ("M5", m5), ("M6", m6), ("M9", m9)];

/// Most entries of a device that are mapped at once.
const MANY: usize = 32;
const PARKING: &str = "the host does not offer PARKING";

fn m1(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    for subject in 0..bench.subjects.len() {
        let entries = bench.subject(subject)?.entries.min(8);
        let mut lines = ArrayVec::<Line, 8>::new();
        for index in 0..entries {
            lines.push(bench.line(subject, index)?);
        }
        for line in &lines {
            bench.arrives(line)?;
        }
    }
    Ok(())
}

fn m2(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    let pair = line.entry.pair();
    let mut now = line;
    for round in 0..6 {
        let (record, next) = bench.moved(&now, Bench::cpu_for(round));
        let got = bench.expect(Operation::RETARGET, &record, Status::OK)?;
        ensure!(got.pair() == pair, "RETARGET answers {}, MAP {pair}", got.pair());
        now = next;
        bench.arrives(&now)?;
        let held = bench.expect(Operation::QUERY, &Bench::bare(&now), Status::OK)?;
        ensure!(held.pair() == pair, "QUERY answers {}, MAP {pair}", held.pair());
    }
    Ok(())
}

fn m3(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    for index in 0..4 {
        let (request, ..) = bench.request(subject, index)?;
        let got = bench.expect(Operation::MAP, &request, Status::OK)?;
        let masked = bench.subject(subject)?.table().is_some_and(|table| table.is_masked(index));
        ensure!(masked, "entry {index} is not masked after MAP");
        ensure!(got.state == EntryState::MASKED.bits(), "entry {index}: state {:#x} after MAP", got.state);
    }
    Ok(())
}

/// What waits in the device when the entry is mapped is delivered, to where it was routed: by MAP itself, or on unmask.
fn m4(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    let id = bench.subject(subject)?.id;
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    if info.flags & DeviceFlags::DYNAMIC.bits() == 0 {
        return Err(Finding::CannotShow("without DYNAMIC an interrupt may be lost in MAP"));
    }
    let control = bench.line(subject, 3)?;
    let all = interrupts::grand_total();
    bench.subject(subject)?.raise(0);
    bench.nothing_came(all, Some(&control))?;
    let (request, cpu, vector) = bench.request(subject, 0)?;
    let before = interrupts::count(cpu, vector);
    let entry = bench.expect(Operation::MAP, &request, Status::OK)?;
    bench.subject(subject)?.program(0, entry.pair());
    let line = Line { subject, index: 0, cpu, vector, entry };
    bench.comes(&line, before)?;
    let elsewhere = interrupts::grand_total() - all - 1 - (interrupts::count(cpu, vector) - before);
    ensure!(elsewhere == 0, "{elsewhere} arrived elsewhere");
    Ok(())
}

fn m5(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let (request, cpu, vector) = bench.request(subject, 0)?;
    let entry = bench.expect(Operation::MAP, &request, Status::OK)?;
    bench.subject(subject)?.program(0, entry.pair());
    let line = Line { subject, index: 0, cpu, vector, entry };
    let again = bench.expect(Operation::MAP, &request, Status::OK)?;
    ensure!(again.handle == entry.handle, "handle {} again is {}", entry.handle, again.handle);
    ensure!(again.pair() == entry.pair(), "pair {} again is {}", entry.pair(), again.pair());
    ensure!(again.state == EntryState::EXISTING.bits(), "state {:#x} the second time", again.state);
    if let Some(table) = bench.subject(subject)?.table() {
        ensure!(!table.is_masked(0), "the second MAP set the mask");
    }
    bench.arrives(&line)?;
    let other = EntryRecord { routing: Routing { vector: vector ^ 1, ..request.routing }, ..request };
    bench.expect(Operation::MAP, &other, Status::ALREADY_MAPPED)?;
    if bench.offered().contains(Features::PARKING) {
        let parked = EntryRecord::map_parked(request.device, request.store, 0);
        bench.expect(Operation::MAP, &parked, Status::ALREADY_MAPPED)?;
    }
    bench.arrives(&line)
}

fn m6(bench: &mut Bench) -> Verdict {
    bench.needs(Features::PARKING, PARKING)?;
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let bare = bench.subject(subject)?.entry(0);
    let parked = EntryRecord::map_parked(bare.device, bare.store, 0);
    let entry = bench.expect(Operation::MAP, &parked, Status::OK)?;
    ensure!(entry.state & EntryState::PARKED.bits() != 0, "state {:#x} of a parked entry", entry.state);
    bench.subject(subject)?.program(0, entry.pair());
    let control = if bench.msix().is_ok() { Some(bench.line(subject, 1)?) } else { None };
    let all = interrupts::grand_total();
    for _ in 0..3 {
        bench.subject(subject)?.raise(0);
        bench.subject(subject)?.acknowledge(0);
    }
    bench.nothing_came(all, control.as_ref())?;
    let (record, line) = bench.moved(&Line { subject, index: 0, cpu: 0, vector: 0, entry }, 0);
    let before = interrupts::count(line.cpu, line.vector);
    let got = bench.expect(Operation::RETARGET, &record, Status::OK)?;
    ensure!(got.pair() == entry.pair(), "the first routing answers {}, MAP {}", got.pair(), entry.pair());
    bench.comes(&line, before)?;
    bench.nothing_came(interrupts::grand_total(), control.as_ref())?;
    let came = interrupts::count(line.cpu, line.vector) - before;
    ensure!(came == 1, "three interrupts that were held came as {came}");
    bench.arrives(&line)
}

fn m9(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    for subject in 0..bench.subjects.len() {
        let entries = bench.subject(subject)?.entries;
        let mut pairs = ArrayVec::<Pair, MANY>::new();
        for index in (0..entries).take(MANY) {
            let (request, ..) = bench.request(subject, index)?;
            let pair = bench.expect(Operation::MAP, &request, Status::OK)?.pair();
            let in_window = pair.address >> 20 == 0xfee && pair.address % 4 == 0 && pair.data < 0x1_0000;
            ensure!(in_window, "entry {index}: {pair} is no message");
            ensure!(!pairs.contains(&pair), "entry {index} has pair {pair} of another entry");
            pairs.push(pair);
        }
    }
    Ok(())
}
