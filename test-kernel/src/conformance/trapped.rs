//! Section 7, while pvir is not enabled: the device is trapped, and its messages are the guest's own.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Finding, Verdict, ensure};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use pvir_guest::abi::{DeviceId, EntryRecord, Features, Operation, Pair, Status, Store};

pub(super) const TESTS: Tests = &[("T1", t1), ("T2", t2), ("T3", t3), ("T4", t4), ("T5", t5)];

/// Programs a message of our own making, in compatibility format, to the boot CPU: fixed, physical, edge.
pub(super) fn own_message(fixture: &mut Fixture, subject: usize, index: u32) -> Result<MappedEntry, Finding> {
    let apic_id = Fixture::apic_id(0);
    if apic_id >= 0xff {
        return Err(Finding::CannotShow("the boot CPU's APIC id does not fit into a message"));
    }
    let vector = fixture.vector();
    let pair = Pair { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: vector.into() };
    let subject_ref = fixture.subject(subject)?;
    if let Some(table) = subject_ref.table() {
        table.set_capability(true, false);
    }
    subject_ref.program(index, pair);
    let entry = EntryRecord {
        address: pair.address,
        data: pair.data,
        ..EntryRecord::query(DeviceId::default(), Store::MSIX, index)
    };
    Ok(MappedEntry { subject, index, cpu: 0, vector, entry })
}

fn t1(fixture: &mut Fixture) -> Verdict {
    for subject in fixture.driven()? {
        let line = own_message(fixture, subject, 0)?;
        fixture.arrives(&line)?;
        let Some(table) = fixture.subject(subject)?.table() else { continue };
        ensure!(table.pair(0) == line.entry.pair(), "the entry reads {}", table.pair(0));
        table.set_masked_at_once(0, true);
        held_until(fixture, &line, |fixture| {
            if let Some(table) = fixture.subject(subject)?.table() {
                table.set_masked_at_once(0, false);
            }
            Ok(())
        })?;
        let Some(table) = fixture.subject(subject)?.table() else { continue };
        table.set_capability(true, true);
        held_until(fixture, &line, |fixture| {
            if let Some(table) = fixture.subject(subject)?.table() {
                table.set_capability(true, false);
            }
            Ok(())
        })?;
        // MSI-X Enable clear: no message, whatever becomes of what was raised.
        table_of(fixture, subject, false)?;
        let all = interrupts::grand_total();
        fixture.subject(subject)?.raise(0)?;
        fixture.nothing_came(all, None)?;
        fixture.subject(subject)?.acknowledge(0);
        table_of(fixture, subject, true)?;
        wait_until(QUIET_MS, || false);
        // A message that changes while live.
        let moved = own_message(fixture, subject, 0)?;
        fixture.arrives(&moved)?;
    }
    Ok(())
}

/// Sets or clears MSI-X Enable of a device that has it.
fn table_of(fixture: &mut Fixture, subject: usize, enabled: bool) -> Verdict {
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_capability(enabled, false);
    }
    Ok(())
}

/// What is raised now is held and pending, and comes when `release` was done.
fn held_until(
    fixture: &mut Fixture,
    line: &MappedEntry,
    release: impl FnOnce(&mut Fixture) -> Verdict,
) -> Verdict {
    let (before, all) = (interrupts::count(line.cpu, line.vector), interrupts::grand_total());
    fixture.subject(line.subject)?.raise(line.index)?;
    fixture.nothing_came(all, None)?;
    let pending = fixture.subject(line.subject)?.table().is_some_and(|table| table.is_pending(line.index));
    ensure!(pending, "the pending bit is clear");
    release(fixture)?;
    fixture.comes(line, before)?;
    fixture.subject(line.subject)?.acknowledge(line.index);
    Ok(())
}

fn t2(fixture: &mut Fixture) -> Verdict {
    let subject = fixture.msix()?;
    let line = own_message(fixture, subject, 0)?;
    fixture.arrives(&line)?;
    fixture.enable()?;
    let masked = fixture.subject(subject)?.table().is_some_and(|table| table.is_masked(0));
    ensure!(masked, "what was programmed before ENABLE is not masked");
    let control = fixture.neighbour(subject)?;
    fixture.is_silent(subject, 0, control.as_ref())
}

fn t3(fixture: &mut Fixture) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = own_message(fixture, subject, 0)?;
    let unknown = Features::from_bits_retain(1 << 63);
    let (answer, _) = fixture.enable_with(unknown, None);
    ensure!(answer.status == Status::UNSUPPORTED_FEATURE, "ENABLE with an unknown feature: {answer}");
    fixture.arrives(&line)
}

fn t4(fixture: &mut Fixture) -> Verdict {
    if let Ok(subject) = fixture.msi() {
        fixture.enable()?;
        fixture.line(subject, 0)?;
        fixture.disable()?;
        let (id, on) = (fixture.subject(subject)?.id, fixture.subject(subject)?.has_msi_enabled());
        ensure!(!on, "{id}: MSI is enabled after DISABLE");
    }
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)?;
    fixture.disable()?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    for index in 0..u32::from(table.len()) {
        let said = (table.pair(index), table.is_masked(index));
        ensure!(said == (Pair::default(), true), "entry {index} after DISABLE: {said:?}");
    }
    let line = own_message(fixture, subject, 0)?;
    fixture.arrives(&line)
}

fn t5(fixture: &mut Fixture) -> Verdict {
    let subject = fixture.msix()?;
    let others = fixture.offered().difference(Features::MSIX | Features::IMS | Features::EPOCH);
    let (answer, _) = fixture.enable_with(others, None);
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    ensure!(answer.status == Status::OK, "ENABLE without MSIX: {answer}");
    let bare = fixture.subject(subject)?.entry(0);
    let asked = EntryRecord::map(bare.device, bare.store, 0, Fixture::route(0, 0x50));
    fixture.expect(Operation::MAP, &asked, Status::STORE_UNSUPPORTED)?;
    let line = own_message(fixture, subject, 0)?;
    fixture.arrives(&line)
}
