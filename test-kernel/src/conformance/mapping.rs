//! Section 5, MAP.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Finding, Verdict, ensure};
use crate::machine::cpu::interrupts;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    DeviceFlags, DeviceRecord, EntryRecord, EntryState, Features, Operation, Pair, Routing, Status, Store,
};

pub(super) const TESTS: Tests =
    &[("M1", m1), ("M2", m2), ("M3", m3), ("M4", m4), ("M5", m5), ("M6", m6), ("M9", m9)];

/// Most entries of a device that are mapped at once.
const MANY: usize = 32;
const PARKING: &str = "the host does not offer PARKING";

fn m1(fixture: &mut Fixture) -> Verdict {
    for subject in fixture.driven()? {
        // The quota of the VM need not be that of all devices together.
        fixture.reset();
        fixture.enable()?;
        let entries = fixture.subject(subject)?.entries.min(8);
        let mut lines = ArrayVec::<MappedEntry, 8>::new();
        for index in 0..entries {
            lines.push(fixture.line(subject, index)?);
        }
        for line in &lines {
            fixture.arrives(line)?;
        }
    }
    Ok(())
}

fn m2(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let pair = line.entry.pair();
    let mut now = line;
    for round in 0..6 {
        let (record, next) = fixture.moved(&now, Fixture::cpu_for(round));
        let got = fixture.expect(Operation::RETARGET, &record, Status::OK)?;
        ensure!(got.pair() == pair, "RETARGET answers {}, MAP {pair}", got.pair());
        now = next;
        fixture.arrives(&now)?;
        let held = fixture.expect(Operation::QUERY, &Fixture::bare(&now), Status::OK)?;
        ensure!(held.pair() == pair, "QUERY answers {}, MAP {pair}", held.pair());
    }
    Ok(())
}

fn m3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    for index in 0..fixture.subject(subject)?.entries.min(4) {
        let (request, ..) = fixture.request(subject, index)?;
        let got = fixture.expect(Operation::MAP, &request, Status::OK)?;
        let masked = fixture.subject(subject)?.table().is_some_and(|table| table.is_masked(index));
        ensure!(masked, "entry {index} is not masked after MAP");
        ensure!(got.state == EntryState::MASKED.bits(), "entry {index}: state {:#x} after MAP", got.state);
    }
    stores_without_mask(fixture, subject)
}

/// Where the host has no mask bit to set, it says of none that it is set.
fn stores_without_mask(fixture: &mut Fixture, msix: usize) -> Verdict {
    let id = fixture.subject(msix)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let room = info.irtes < info.max_irtes && fixture.features().irtes < fixture.features().max_irtes;
    let apart = info.flags & DeviceFlags::EMULATED.bits() != 0 || info.msix_entries > 4;
    if info.ims_entries > 0 && room && apart && fixture.offered().contains(Features::IMS) {
        let (request, ..) = fixture.request(msix, 0)?;
        let ims = EntryRecord { store: Store::IMS, ..request };
        let got = fixture.expect(Operation::MAP, &ims, Status::OK)?;
        ensure!(got.state == 0, "IMS has no mask: state {:#x} after MAP", got.state);
    }
    Ok(())
}

/// What waits in the device when the entry is mapped is delivered, to where it was routed: by MAP itself, or on unmask.
fn m4(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    if info.flags & DeviceFlags::DYNAMIC.bits() == 0 {
        return Err(Finding::CannotShow("without DYNAMIC an interrupt may be lost in MAP"));
    }
    let control = fixture.neighbour(subject)?;
    let of_control = || control.map_or(0, |line| interrupts::count(line.cpu, line.vector));
    let others = || interrupts::grand_total() - of_control();
    let (all, elsewhere_before) = (interrupts::grand_total(), others());
    fixture.subject(subject)?.raise(0)?;
    fixture.nothing_came(all, control.as_ref())?;
    let (request, cpu, vector) = fixture.request(subject, 0)?;
    let before = interrupts::count(cpu, vector);
    let entry = fixture.expect(Operation::MAP, &request, Status::OK)?;
    fixture.subject(subject)?.program(0, entry.pair());
    let line = MappedEntry { subject, index: 0, cpu, vector, entry };
    fixture.comes(&line, before)?;
    let elsewhere = others() - elsewhere_before - (interrupts::count(cpu, vector) - before);
    ensure!(elsewhere == 0, "{elsewhere} arrived elsewhere");
    Ok(())
}

fn m5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, cpu, vector) = fixture.request(subject, 0)?;
    let entry = fixture.expect(Operation::MAP, &request, Status::OK)?;
    fixture.subject(subject)?.program(0, entry.pair());
    let line = MappedEntry { subject, index: 0, cpu, vector, entry };
    let again = fixture.expect(Operation::MAP, &request, Status::OK)?;
    ensure!(again.handle == entry.handle, "handle {} again is {}", entry.handle, again.handle);
    ensure!(again.pair() == entry.pair(), "pair {} again is {}", entry.pair(), again.pair());
    ensure!(again.state == EntryState::EXISTING.bits(), "state {:#x} the second time", again.state);
    if let Some(table) = fixture.subject(subject)?.table() {
        ensure!(!table.is_masked(0), "the second MAP set the mask");
    }
    fixture.arrives(&line)?;
    let other = EntryRecord { routing: Routing { vector: vector ^ 1, ..request.routing }, ..request };
    fixture.expect(Operation::MAP, &other, Status::ALREADY_MAPPED)?;
    if fixture.offered().contains(Features::PARKING) {
        let parked = EntryRecord::map_parked(request.device, request.store, 0);
        fixture.expect(Operation::MAP, &parked, Status::ALREADY_MAPPED)?;
    }
    fixture.arrives(&line)?;
    same_as_now(fixture, subject, &request, &line)
}

/// What is the same is judged by what the entry has now, not by its first MAP.
fn same_as_now(fixture: &mut Fixture, subject: usize, request: &EntryRecord, line: &MappedEntry) -> Verdict {
    let (record, moved) = fixture.moved(line, Fixture::cpu_for(1));
    fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    let now = EntryRecord { routing: record.routing, ..*request };
    let again = fixture.expect(Operation::MAP, &now, Status::OK)?;
    ensure!(again.state == EntryState::EXISTING.bits(), "state {:#x} of what it was moved to", again.state);
    fixture.expect(Operation::MAP, request, Status::ALREADY_MAPPED)?;
    fixture.arrives(&moved)?;
    if fixture.offered().contains(Features::PARKING) {
        fixture.expect(Operation::RETARGET, &Fixture::parked(&moved), Status::OK)?;
        let parked = EntryRecord::map_parked(request.device, request.store, request.index);
        let again = fixture.expect(Operation::MAP, &parked, Status::OK)?;
        let expected = EntryState::EXISTING | EntryState::PARKED;
        ensure!(again.state == expected.bits(), "state {:#x} of a parked entry", again.state);
        fixture.expect(Operation::MAP, &now, Status::ALREADY_MAPPED)?;
    }
    fixture.subject(subject)?.silence();
    Ok(())
}

fn m6(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::PARKING, PARKING)?;
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let bare = fixture.subject(subject)?.entry(0);
    let parked = EntryRecord::map_parked(bare.device, bare.store, 0);
    let entry = fixture.expect(Operation::MAP, &parked, Status::OK)?;
    ensure!(entry.state & EntryState::PARKED.bits() != 0, "state {:#x} of a parked entry", entry.state);
    fixture.subject(subject)?.program(0, entry.pair());
    let control = fixture.neighbour(subject)?;
    let all = interrupts::grand_total();
    for _ in 0..3 {
        fixture.subject(subject)?.raise(0)?;
        fixture.subject(subject)?.acknowledge(0);
    }
    fixture.nothing_came(all, control.as_ref())?;
    let (record, line) = fixture.moved(&MappedEntry { subject, index: 0, cpu: 0, vector: 0, entry }, 0);
    let before = interrupts::count(line.cpu, line.vector);
    let got = fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    ensure!(got.pair() == entry.pair(), "the first routing answers {}, MAP {}", got.pair(), entry.pair());
    fixture.comes(&line, before)?;
    fixture.nothing_came(interrupts::grand_total(), control.as_ref())?;
    let came = interrupts::count(line.cpu, line.vector) - before;
    ensure!(came == 1, "three interrupts that were held came as {came}");
    fixture.arrives(&line)
}

fn m9(fixture: &mut Fixture) -> Verdict {
    for subject in 0..fixture.subjects.len() {
        // As in M1.
        fixture.reset();
        fixture.enable()?;
        let entries = fixture.subject(subject)?.entries;
        let mut pairs = ArrayVec::<Pair, MANY>::new();
        for index in (0..entries).take(MANY) {
            let (request, ..) = fixture.request(subject, index)?;
            let pair = fixture.expect(Operation::MAP, &request, Status::OK)?.pair();
            let in_window = pair.address >> 20 == 0xfee && pair.address % 4 == 0 && pair.data < 0x1_0000;
            ensure!(in_window, "entry {index}: {pair} is no message");
            ensure!(!pairs.contains(&pair), "entry {index} has pair {pair} of another entry");
            pairs.push(pair);
        }
    }
    Ok(())
}
