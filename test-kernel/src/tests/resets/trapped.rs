//! Resets of a device whose table is trapped: its messages are the guest's own.

use super::{ENTRIES, Subject};
use crate::harness::checks::Checks;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{Device, Trigger};
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_guest::abi::Pair;

const FIRST_VECTOR: u8 = 0x90;

pub(super) fn run(subject: &Subject<'_>, rounds: u64, checks: &mut Checks) {
    let mut done = 0;
    let Some((mut device, table)) = subject.open(checks) else { return };
    while done < rounds && round(subject, &mut device, &table).is_some() {
        done += 1;
    }
    checks.expect("trapped", done == rounds, format_args!("{}: {done} of {rounds} resets", subject.name));
}

fn round(subject: &Subject<'_>, device: &mut Device, table: &RawMsixTable) -> Option<()> {
    let entries = device.vectors().min(table.len()).min(ENTRIES);
    table.set_capability(true, false);
    for index in 0..entries {
        program(table, index);
        arrives(device, index)?;
    }
    // One is pending, behind its mask; and the last ones go as they come.
    table.set_masked_at_once(0, true);
    device.raise(0);
    wait_until(PATIENCE_MS, || table.is_pending(0)).then_some(())?;
    (1..entries).for_each(|index| device.raise(index));
    subject.reset(device, table)?;
    let zero = (0..u32::from(entries)).all(|index| table.pair(index) == Pair::default());
    wait_until(QUIET_MS, || false);
    let all = interrupts::grand_total();
    table.set_capability(true, false);
    (0..entries).for_each(|index| program(table, index));
    let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() > all);
    for index in 0..entries {
        arrives(device, index)?;
    }
    table.mask_all();
    table.set_capability(false, false);
    (zero && quiet).then_some(())
}

fn vector(index: u16) -> u8 {
    FIRST_VECTOR.saturating_add(u8::try_from(index).unwrap_or(u8::MAX))
}

/// A message of our own to the boot processor, unmasked.
fn program(table: &RawMsixTable, index: u16) {
    let id = u64::from(cpu::by_index(0).map_or(0, |cpu| cpu.apic_id));
    table.set_pair(index.into(), Pair { address: 0xfee0_0000 | id << 12, data: vector(index).into() });
    table.set_masked_at_once(index.into(), false);
}

fn arrives(device: &mut Device, index: u16) -> Option<()> {
    let before = interrupts::total(vector(index));
    device.raise(index);
    let came = wait_until(PATIENCE_MS, || interrupts::total(vector(index)) > before);
    device.acknowledge(index);
    came.then_some(())
}
