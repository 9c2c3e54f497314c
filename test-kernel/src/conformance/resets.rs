//! Section 8, "Resets of a device": function level resets, on a device that offers one.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::trapped::own_message;
use super::verdict::{Finding, Verdict, ensure};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_guest::abi::{EntryState, Features, Operation, Pair, Status};

pub(super) const TESTS: Tests = &[("Z1", z1), ("Z2", z2), ("Z3", z3), ("Z4", z4), ("Z5", z5)];

/// The device with MSI-X that shows most of those that can be reset.
fn resettable(fixture: &Fixture) -> Result<usize, Finding> {
    fixture.msix()?;
    let can = |place: &usize| {
        let subject = fixture.subjects.get(*place);
        subject
            .is_some_and(|subject| subject.can_be_reset() && subject.table().is_some() && subject.is_driven())
    };
    let all = (0..fixture.subjects.len()).filter(can);
    let entries = |place: &usize| fixture.subjects.get(*place).map_or(0, |subject| subject.entries.min(2));
    all.rev()
        .max_by_key(entries)
        .ok_or(Finding::CannotShow("no device here with MSI-X and a driver offers a reset"))
}

/// Resets the device, which must answer afterwards, and gives it BARs and COMMAND again.
fn reset(fixture: &mut Fixture, subject: usize) -> Verdict {
    let after = fixture.subject(subject)?.reset();
    ensure!(
        after.is_some_and(|after| after.answers),
        "the device does not answer after its reset: {after:?}"
    );
    Ok(())
}

/// Of a device that can be reset, an entry whose interrupts arrive, and where the host and the device let one be parked, a
/// parked one.
fn routed_and_parked(fixture: &mut Fixture) -> Result<(MappedEntry, Option<MappedEntry>), Finding> {
    fixture.enable()?;
    let subject = resettable(fixture)?;
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)?;
    if !fixture.offered().contains(Features::PARKING) || !fixture.has_entry(subject, 1) {
        return Ok((line, None));
    }
    let parked = fixture.line(subject, 1)?;
    fixture.expect(Operation::RETARGET, &Fixture::parked(&parked), Status::OK)?;
    Ok((line, Some(parked)))
}

/// What is programmed again after a reset, and arrives.
fn works(fixture: &mut Fixture, line: &MappedEntry) -> Verdict {
    if let Some(table) = fixture.subject(line.subject)?.table() {
        table.set_capability(true, false);
    }
    fixture.subject(line.subject)?.program(line.index, line.entry.pair());
    fixture.arrives(line)
}

fn z1(fixture: &mut Fixture) -> Verdict {
    let all: arrayvec::ArrayVec<usize, 4> = (0..fixture.subjects.len())
        .filter(|place| fixture.subjects.get(*place).is_some_and(super::subject::Subject::can_be_reset))
        .collect();
    if all.is_empty() {
        return Err(Finding::CannotShow("no device here offers a reset"));
    }
    for enabled in [false, true] {
        if enabled {
            fixture.enable()?;
        }
        for subject in &all {
            let of = fixture.subject(*subject)?;
            match of.table() {
                Some(table) => table.set_capability(true, true),
                None => of.program_msi(Pair { address: 0xfee0_0000, data: 0x50 }, 1),
            }
            reset(fixture, *subject)?;
            let of = fixture.subject(*subject)?;
            let said = of.table().map_or((of.has_msi_enabled(), false), RawMsixTable::capability);
            ensure!(said == (false, false), "{}: enabled, masked after a reset: {said:?}", of.id);
        }
    }
    Ok(())
}

fn z2(fixture: &mut Fixture) -> Verdict {
    let (line, parked) = routed_and_parked(fixture)?;
    let subject = line.subject;
    let before = (fixture.epoch(), fixture.features().irtes);
    for number in 1..4 {
        reset(fixture, subject)?;
        let now = (fixture.epoch(), fixture.features().irtes);
        ensure!(now == before, "epoch and IRTEs after reset {number}: {now:?}, before it {before:?}");
        for known in core::iter::once(&line).chain(&parked) {
            let got = fixture.expect(Operation::QUERY, &Fixture::bare(known), Status::OK)?;
            ensure!(
                got.pair() == known.entry.pair(),
                "entry {} has another pair: {}",
                known.index,
                got.pair()
            );
            let is_parked = got.state & EntryState::PARKED.bits() != 0;
            let was_parked = known.index == 1;
            ensure!(
                is_parked == was_parked,
                "entry {}: parked {is_parked}, before {was_parked}",
                known.index
            );
        }
        works(fixture, &line)?;
    }
    Ok(())
}

fn z3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = resettable(fixture)?;
    let line = fixture.line(subject, 0)?;
    let other = fixture.neighbour(subject)?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    let last = u32::from(table.len()) - 1;
    table.set_pair(last, line.entry.pair());
    table.set_masked_at_once(last, false);
    reset(fixture, subject)?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    let unmasked = (0..=last).find(|index| !table.is_masked(*index));
    ensure!(unmasked.is_none(), "an entry is unmasked after a reset: {unmasked:?}");
    works(fixture, &line)?;
    other.map_or(Ok(()), |other| works(fixture, &other))
}

fn z4(fixture: &mut Fixture) -> Verdict {
    let (line, parked) = routed_and_parked(fixture)?;
    let subject = line.subject;
    if parked.is_some() {
        fixture.subject(subject)?.raise(1)?;
    }
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_masked_at_once(0, true);
    }
    fixture.subject(subject)?.raise(0)?;
    let pending = |fixture: &mut Fixture| -> Result<bool, Finding> {
        Ok(fixture.subject(subject)?.table().is_some_and(|table| table.is_pending(0)))
    };
    wait_until(fixture.patience_ms, || {
        fixture.subjects[subject].table().is_some_and(|table| table.is_pending(0))
    });
    ensure!(pending(fixture)?, "the pending bit is clear before the reset");
    reset(fixture, subject)?;
    ensure!(!pending(fixture)?, "the pending bit is set after the reset");
    wait_until(QUIET_MS, || false);
    let all = interrupts::grand_total();
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_capability(true, false);
    }
    fixture.subject(subject)?.program(0, line.entry.pair());
    let mut routed = None;
    if let Some(line) = &parked {
        fixture.subject(subject)?.program(1, line.entry.pair());
        let (record, moved) = fixture.moved(line, line.cpu);
        fixture.expect(Operation::RETARGET, &record, Status::OK)?;
        routed = Some(moved);
    }
    fixture.nothing_came(all, None)?;
    fixture.arrives(&line)?;
    routed.map_or(Ok(()), |line| fixture.arrives(&line))
}

fn z5(fixture: &mut Fixture) -> Verdict {
    let subject = resettable(fixture)?;
    let line = own_message(fixture, subject, 0)?;
    fixture.arrives(&line)?;
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_masked_at_once(0, true);
    }
    fixture.subject(subject)?.raise(0)?;
    reset(fixture, subject)?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    let said = table.capability();
    ensure!(said == (false, false), "MSI-X Enable and Function Mask after the reset: {said:?}");
    for index in 0..u32::from(table.len()) {
        let said = (table.pair(index), table.is_masked(index), table.is_pending(index));
        ensure!(said == (Pair::default(), true, false), "entry {index} after the reset: {said:?}");
    }
    wait_until(QUIET_MS, || false);
    let all = interrupts::grand_total();
    let line = own_message(fixture, subject, 0)?;
    fixture.nothing_came(all, None)?;
    fixture.arrives(&line)
}
