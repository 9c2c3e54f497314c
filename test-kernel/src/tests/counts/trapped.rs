//! The same steps where the table is trapped: each entry by itself, access by access as Linux 6.12 does it where nothing
//! remaps (kernel/irq/msi.c, drivers/pci/msi/msi.c, arch/x86/kernel/apic/msi.c).
//!
//! | step | accesses | what |
//! |---|---|---|
//! | request | 7 writes, 2 reads | the message when it is activated and again when its CPU is known, unmask |
//! | move | 8 writes, 3 reads | mask and read back, the message by way of an intermediate one, unmask |
//! | mask, unmask | 1 write each | |
//! | free | 4 writes, 2 reads | mask and read back, the message cleared |

use super::{Subject, apic_id, place};
use crate::harness::checks::Checks;
use crate::harness::compat;
use crate::machine::console::report;
use crate::machine::pci::Function;
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_test_kernel::linux::{self, Message};

/// Accesses for each entry.
const REQUEST: u32 = 9;
const MASK_AND_UNMASK: u32 = 2;
const PENDING: u32 = 1;
const MOVE: u32 = 11;
const FREE: u32 = 6;

pub(super) fn run(function: &Function, subject: &mut Subject, checks: &mut Checks) {
    let Some(table) = RawMsixTable::open_masked(function) else {
        return checks.expect("device", false, format_args!("{}: no table", subject.id));
    };
    let entries = u16::try_from(subject.entries).unwrap_or(u16::MAX);
    let trapped = Trapped { table, entries };
    let table = &trapped.table;
    report::checkpoint("opened");
    report::checkpoint("mapped");
    trapped.step("request", REQUEST, checks, |entry| {
        linux::request(table, entry, message(entry, false));
    });
    report::checkpoint("programmed");
    trapped.step("mask", MASK_AND_UNMASK, checks, |entry| {
        table.set_masked(entry.into(), true);
        table.set_masked(entry.into(), false);
    });
    report::checkpoint("masked");
    trapped.step("pending", PENDING, checks, |entry| {
        table.is_pending(entry.into());
    });
    report::checkpoint("pending");
    trapped.step("move", MOVE, checks, |entry| {
        linux::set_affinity(table, entry, message(entry, false), message(entry, true));
    });
    report::checkpoint("retargeted");
    subject.flow.deliver(subject.entries, checks);
    report::checkpoint("masked-for-good");
    trapped.step("free", FREE, checks, |entry| {
        linux::free(table, entry);
    });
    report::checkpoint("unmapped");
}

struct Trapped {
    table: RawMsixTable,
    entries: u16,
}

impl Trapped {
    /// Does something to each entry, which must take so many accesses.
    fn step(&self, name: &str, each: u32, checks: &mut Checks, mut act: impl FnMut(u16)) {
        let before = self.table.accesses();
        (0..self.entries).for_each(&mut act);
        let accesses = self.table.accesses() - before;
        let right = accesses == each * u32::from(self.entries);
        checks.expect(name, right, format_args!("{} entries, {accesses} accesses", self.entries));
    }
}

fn message(entry: u16, moved: bool) -> Message {
    let (cpu, vector) = place(entry.into(), moved);
    compat::message(apic_id(cpu), vector).unwrap_or_default()
}
