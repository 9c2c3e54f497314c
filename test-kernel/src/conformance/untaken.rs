//! Section 7, while pvir is not enabled: the device is trapped, and its messages are the guest's own.

use super::Tests;
use super::bench::{Bench, Line};
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu::interrupts;
use pvir_guest::abi::{DeviceId, EntryRecord, Features, Operation, Pair, Status, Store};

pub(super) const TESTS: Tests = &[("T1", t1), ("T2", t2), ("T3", t3), ("T4", t4), ("T5", t5)];

/// Programs a message of our own making, in compatibility format, to the boot CPU: fixed, physical, edge.
fn own_message(bench: &mut Bench, subject: usize, index: u32) -> Result<Line, Finding> {
    let apic_id = Bench::apic_id(0);
    if apic_id >= 0xff {
        return Err(Finding::CannotShow("the boot CPU's APIC id does not fit into a message"));
    }
    let vector = bench.vector();
    let pair = Pair { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: vector.into() };
    let subject_ref = bench.subject(subject)?;
    if let Some(table) = subject_ref.table() {
        table.set_capability(true, false);
    }
    subject_ref.program(index, pair);
    let entry = EntryRecord {
        address: pair.address,
        data: pair.data,
        ..EntryRecord::query(DeviceId::default(), Store::MSIX, index)
    };
    Ok(Line { subject, index, cpu: 0, vector, entry })
}

fn t1(bench: &mut Bench) -> Verdict {
    for subject in 0..bench.subjects.len() {
        let line = own_message(bench, subject, 0)?;
        bench.arrives(&line)?;
        let Some(table) = bench.subject(subject)?.table() else { continue };
        ensure!(table.pair(0) == line.entry.pair(), "the entry reads {}", table.pair(0));
        table.set_masked(0, true);
        held_until(bench, &line, |bench| {
            if let Some(table) = bench.subject(subject)?.table() {
                table.set_masked(0, false);
            }
            Ok(())
        })?;
        let Some(table) = bench.subject(subject)?.table() else { continue };
        table.set_capability(true, true);
        held_until(bench, &line, |bench| {
            if let Some(table) = bench.subject(subject)?.table() {
                table.set_capability(true, false);
            }
            Ok(())
        })?;
        // A message that changes while live.
        let moved = own_message(bench, subject, 0)?;
        bench.arrives(&moved)?;
    }
    Ok(())
}

/// What is raised now is held and pending, and comes when `release` was done.
fn held_until(bench: &mut Bench, line: &Line, release: impl FnOnce(&mut Bench) -> Verdict) -> Verdict {
    let (before, all) = (interrupts::count(line.cpu, line.vector), interrupts::grand_total());
    bench.subject(line.subject)?.raise(line.index);
    bench.nothing_came(all, None)?;
    let pending = bench.subject(line.subject)?.table().is_some_and(|table| table.is_pending(line.index));
    ensure!(pending, "the pending bit is clear");
    release(bench)?;
    bench.comes(line, before)?;
    bench.subject(line.subject)?.acknowledge(line.index);
    Ok(())
}

fn t2(bench: &mut Bench) -> Verdict {
    let subject = bench.msix()?;
    let line = own_message(bench, subject, 0)?;
    bench.arrives(&line)?;
    bench.enable()?;
    let masked = bench.subject(subject)?.table().is_some_and(|table| table.is_masked(0));
    ensure!(masked, "what was programmed before ENABLE is not masked");
    let control = bench.line(subject, 1)?;
    bench.is_silent(subject, 0, Some(&control))
}

fn t3(bench: &mut Bench) -> Verdict {
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = own_message(bench, subject, 0)?;
    let unknown = Features::from_bits_retain(1 << 63);
    let (answer, _) = bench.enable_with(unknown, None);
    ensure!(answer.status == Status::UNSUPPORTED_FEATURE, "ENABLE with an unknown feature: {answer}");
    bench.arrives(&line)
}

fn t4(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    let line = bench.line(subject, 0)?;
    bench.arrives(&line)?;
    bench.disable()?;
    let Some(table) = bench.subject(subject)?.table() else { return Ok(()) };
    for index in 0..table.len() {
        let said = (table.pair(index), table.is_masked(index));
        ensure!(said == (Pair::default(), true), "entry {index} after DISABLE: {said:?}");
    }
    let line = own_message(bench, subject, 0)?;
    bench.arrives(&line)
}

fn t5(bench: &mut Bench) -> Verdict {
    let subject = bench.msix()?;
    let others = bench.offered().difference(Features::MSIX | Features::IMS | Features::EPOCH);
    let (answer, _) = bench.enable_with(others, None);
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    ensure!(answer.status == Status::OK, "ENABLE without MSIX: {answer}");
    let bare = bench.subject(subject)?.entry(0);
    let asked = EntryRecord::map(bare.device, bare.store, 0, Bench::route(0, 0x50));
    bench.expect(Operation::MAP, &asked, Status::STORE_UNSUPPORTED)?;
    let line = own_message(bench, subject, 0)?;
    bench.arrives(&line)
}
