//! Section 7: masks, and who writes what.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Verdict, ensure};
use crate::machine::cpu::interrupts;
use pvir_guest::abi::{DeviceRecord, Operation, Pair, Status};

pub(super) const TESTS: Tests = &[("W1", w1), ("W3", w3), ("W4", w4), ("W5", w5), ("W6", w6)];

fn w1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    let control = fixture.neighbour(subject)?;
    for _ in 0..3 {
        let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
        table.set_masked_at_once(0, true);
        ensure!(table.is_masked(0), "the mask bit does not read back");
        let before = interrupts::count(line.cpu, line.vector);
        let all = interrupts::grand_total();
        fixture.subject(subject)?.raise(0)?;
        fixture.nothing_came(all, control.as_ref())?;
        let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
        ensure!(table.is_pending(0), "the pending bit is clear");
        table.set_masked_at_once(0, false);
        fixture.comes(&line, before)?;
        fixture.subject(subject)?.acknowledge(0);
        fixture.arrives(&line)?;
    }
    Ok(())
}

fn w3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    let own = Pair { address: 0xfee0_0ffc, data: 0xabc };
    let spare = u32::from(fixture.subject(subject)?.table_of(3)?.len()) - 1;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    table.set_pair(spare, own);
    let id = fixture.subject(subject)?.id;
    let (moved, now) = fixture.moved(&line, 0);
    fixture.expect(Operation::RETARGET, &moved, Status::OK)?;
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    fixture.features();
    let other = fixture.line(subject, 1)?;
    fixture.expect(Operation::UNMAP, &Fixture::bare(&other), Status::OK)?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    ensure!(
        table.pair(0) == line.entry.pair() && !table.is_masked(0),
        "a live entry was written: {}",
        table.pair(0)
    );
    let kept = table.pair(spare) == own && table.is_masked(spare);
    ensure!(kept, "an entry of no call was written: {}", table.pair(spare));
    fixture.arrives(&now)
}

fn w4(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    for mask in [true, false] {
        let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
        table.set_capability(true, mask);
        let said = table.capability();
        ensure!(said == (true, mask), "MSI-X Enable and Function Mask read {said:?}, written (true, {mask})");
        fixture.arrives(&line)?;
    }
    Ok(())
}

fn w6(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    table.set_capability(false, false);
    let (request, cpu, vector) = fixture.request(subject, 0)?;
    let entry = fixture.expect(Operation::MAP, &request, Status::OK)?;
    let line = MappedEntry { subject, index: 0, cpu, vector, entry };
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    let (record, moved) = fixture.moved(&line, Fixture::cpu_for(1));
    fixture.expect(Operation::RETARGET, &record, Status::OK)?;
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_capability(true, false);
    }
    fixture.subject(subject)?.program(0, entry.pair());
    fixture.arrives(&moved)?;
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_capability(false, false);
    }
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::OK)?;
    Ok(())
}

/// Garbage in every entry, live. None of it may go anywhere but to the interrupt window: elsewhere it is a write to
/// memory, which is this guest's own.
fn w5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 0)?;
    let garbage = [
        Pair { address: 0xfeef_fffc, data: u32::MAX },
        Pair { address: 0xfee0_0018, data: 0x7fff },
        Pair { address: line.entry.address | 0x7fff << 5, data: 0 },
    ];
    let entries =
        u32::from(fixture.subject(subject)?.table_of(2)?.len()).min(fixture.subject(subject)?.entries);
    for pair in garbage {
        for index in 1..entries {
            let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
            table.set_pair(index, pair);
            table.set_masked_at_once(index, false);
            fixture.subject(subject)?.raise(index)?;
            fixture.subject(subject)?.acknowledge(index);
        }
    }
    fixture.subject(subject)?.silence();
    fixture.subject(subject)?.program(0, line.entry.pair());
    fixture.arrives(&line)?;
    let answer = fixture.features();
    ensure!(answer.status == Status::OK && answer.irtes == 1, "FEATURES afterwards: {answer:x?}");
    Ok(())
}
