//! What each step costs: one thing between two checkpoints, so that a program outside can take the difference of the
//! exits and ioctls. The device is the first with MSI-X; `n=` says how many of its entries take part, all unless it does.
//!
//! With the word `trapped` the kernel does the same to the trapped table, access by access as Linux does it.

mod direct;
mod flow;
mod trapped;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function, bars};
use crate::{cpu, println};
use flow::Flow;
use pvir_guest::abi::DeviceId;
use pvir_test_kernel::cmdline::CommandLine;

/// Most entries of an MSI-X table.
const MAX_ENTRIES: usize = 2048;
const FIRST_VECTOR: u8 = 0x40;
/// Vectors in use; entries beyond share them.
const VECTORS: u8 = 0x40;
/// Interrupts in the steady state, unless `interrupts=` says otherwise.
const INTERRUPTS: u64 = 10_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let max_entries = setup::number(line, "n", u64::MAX)?;
    let interrupts = setup::number(line, "interrupts", INTERRUPTS)?;
    let mut checks = Checks::new();
    let session = if line.flag("trapped") { None } else { Some(setup::open(line)?) };
    let functions = pci::enumerate();
    let Some(function) = functions.iter().find(|function| function.msix().is_some()) else {
        checks.record("device", &Outcome::Skipped("no device with MSI-X"), format_args!(""));
        return Ok(checks.finish("counts"));
    };
    match Subject::open(function, max_entries, interrupts) {
        Ok(mut subject) => {
            println!("{}: {} entries", subject.id, subject.entries);
            match session {
                Some(session) => direct::run(&session, &mut subject, &mut checks),
                None => trapped::run(function, &mut subject, &mut checks),
            }
        }
        Err(error) => checks.expect("device", false, format_args!("{error}")),
    }
    Ok(checks.finish("counts"))
}

/// The device, and how much of it takes part.
struct Subject {
    id: DeviceId,
    entries: usize,
    flow: Flow,
}

impl Subject {
    fn open(function: &Function, max_entries: u64, interrupts: u64) -> Result<Self, bars::BarError> {
        let missing = bars::BarError::Missing(function.address, 0);
        let (id, msix) = device_id(function.address).zip(function.msix()).ok_or(missing)?;
        // One without a driver can be mapped, moved and masked all the same; so its table must have a place.
        bars::registers(function, msix.table_bar())?;
        let mut driver: Option<Device> = devices::probe(function)?;
        if let Some(driver) = &mut driver {
            driver.init();
        }
        let table = usize::from(msix.table_size()).min(MAX_ENTRIES);
        let there = driver.as_ref().map_or(table, |driver| table.min(usize::from(driver.vectors())));
        let entries = there.min(usize::try_from(max_entries).unwrap_or(usize::MAX));
        Ok(Self { id, entries, flow: Flow { driver, interrupts } })
    }
}

/// Where an entry goes: number of the processor, and the vector. Moved, both are others.
fn place(entry: usize, moved: bool) -> (usize, u8) {
    let shift = usize::from(moved);
    let vector = usize::from(FIRST_VECTOR) + entry % usize::from(VECTORS) + shift * usize::from(VECTORS);
    ((entry + shift) % cpu::count().max(1), u8::try_from(vector).unwrap_or(u8::MAX))
}

fn apic_id(cpu: usize) -> u32 {
    cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id)
}

/// How often entries are masked and unmasked: a thousand times, all together, and once each at least.
fn rounds(entries: usize) -> usize {
    1000_usize.checked_div(entries).unwrap_or(0).max(1)
}
