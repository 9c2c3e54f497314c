//! Checks of PCI and of the devices that are there, with messages in compatibility format.

use super::{Checks, Outcome};
use crate::harness::compat;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::{self, Cpu, interrupts};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function, bars};
use crate::println;

/// The first vector of the device tests; each MSI-X entry gets its own.
const FIRST_VECTOR: u8 = 0x60;
const MAX_VECTORS: u16 = 64;

/// Lists the functions and tries those that have a driver.
pub(super) fn run(checks: &mut Checks, rounds: u64) {
    let functions = pci::enumerate();
    for function in functions.iter() {
        list(function);
    }
    let found = functions.iter().count();
    checks.expect("pci", found > 0, format_args!("{found} functions"));
    for function in functions.iter() {
        match devices::probe(function) {
            Ok(Some(device)) => try_device(checks, function, device, rounds),
            Ok(None) => {}
            Err(error) => checks.expect("registers", false, format_args!("{error}")),
        }
    }
}

fn list(function: &Function) {
    let (base, sub) = function.class;
    println!(
        "       {} {:04x}:{:04x} class {base:02x}{sub:02x} msi {} msix {} {}",
        function.address,
        function.vendor,
        function.device,
        u8::from(function.msi().is_some()),
        function.msix().map_or(0, |msix| msix.table_size()),
        devices::name(function).unwrap_or("")
    );
    let listed = bars::each_memory_bar(function, |bar| {
        println!("         BAR {} at {:#x}, {:#x} bytes", bar.slot, bar.address, bar.size);
    });
    if let Err(error) = listed {
        println!("         {error}");
    }
}

fn try_device(checks: &mut Checks, function: &Function, mut device: Device, rounds: u64) {
    let name = devices::name(function).unwrap_or("device");
    device.init();
    let Some(table) = RawMsixTable::open_masked(function) else {
        return try_msi(checks, name, function, &mut device, rounds);
    };
    let entries = device.vectors().min(table.len()).min(MAX_VECTORS);
    let mut run = Run::new(rounds, device.repeats());
    let mut programmed = true;
    for index in 0..entries {
        let Some((target, message)) = target(index) else { continue };
        programmed &= compat::program(&table, index, message);
        run.raise(&mut device, index, target);
    }
    let masked = quiet_while_masked(&mut device, &table, &mut run);
    let taken = run.taken();
    checks.expect(
        name,
        programmed && masked && run.is_exact(),
        format_args!("{entries} MSI-X entries, {} raised, {taken} taken, mask holds: {masked}", run.raised),
    );
}

fn try_msi(checks: &mut Checks, name: &str, function: &Function, device: &mut Device, rounds: u64) {
    let mut run = Run::new(rounds, device.repeats());
    for index in 0..cpu::count() {
        let Some((cpu, message)) = u16::try_from(index).ok().and_then(target) else { continue };
        let message = (message.0, u32::from(FIRST_VECTOR));
        if !compat::program_msi(function, message) {
            return checks.record(name, &Outcome::Skipped("no MSI"), format_args!(""));
        }
        run.raise(device, 0, cpu);
    }
    let taken = run.taken();
    checks.expect(
        name,
        run.is_exact(),
        format_args!("one MSI moved over all CPUs, {} raised, {taken} taken", run.raised),
    );
}

/// The processor for an entry, in turn, and the message to it.
fn target(index: u16) -> Option<(&'static Cpu, (u64, u32))> {
    let cpu = cpu::by_index(usize::from(index) % cpu::count())?;
    Some((cpu, compat::message(cpu.apic_id, vector(index))?))
}

fn vector(index: u16) -> u8 {
    FIRST_VECTOR + index.to_le_bytes()[0]
}

/// A raised but masked interrupt does not come; unmasked it comes, once.
fn quiet_while_masked(device: &mut Device, table: &RawMsixTable, run: &mut Run) -> bool {
    let Some((target, _)) = target(0) else { return false };
    table.set_masked(0, true);
    let before = interrupts::count(target.index, vector(0));
    device.raise(0);
    let came = wait_until(QUIET_MS, || interrupts::count(target.index, vector(0)) != before);
    table.set_masked(0, false);
    run.raised += 1;
    let arrived = wait_until(PATIENCE_MS, || interrupts::count(target.index, vector(0)) > before);
    device.acknowledge(0);
    !came && arrived
}

/// Counts what was raised and what came, on all processors together.
struct Run {
    rounds: u64,
    repeats: bool,
    before: u64,
    raised: u64,
    lost: u64,
}

impl Run {
    fn new(rounds: u64, repeats: bool) -> Self {
        Self { rounds, repeats, before: interrupts::grand_total(), raised: 0, lost: 0 }
    }

    /// Raises an interrupt and waits for it on the processor it was sent to, `rounds` times.
    fn raise(&mut self, device: &mut Device, index: u16, target: &Cpu) {
        for _ in 0..self.rounds {
            let before = interrupts::count(target.index, vector(index));
            device.raise(index);
            self.raised += 1;
            if !wait_until(PATIENCE_MS, || interrupts::count(target.index, vector(index)) > before) {
                self.lost += 1;
                return;
            }
            device.acknowledge(index);
        }
    }

    fn taken(&self) -> u64 {
        interrupts::grand_total() - self.before
    }

    /// Everything came where it should, and nothing else came anywhere. Exactness of a single interrupt follows
    /// from the sum.
    fn is_exact(&self) -> bool {
        let max_taken = if self.repeats { 2 * self.raised } else { self.raised };
        wait_until(QUIET_MS, || self.taken() > max_taken);
        self.lost == 0 && (self.raised..=max_taken).contains(&self.taken())
    }
}
