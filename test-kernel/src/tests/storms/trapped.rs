//! A storm of a device whose table is trapped: its messages are the guest's own, and nobody has enabled pvir, so that nobody
//! is told. The guest sees that nothing comes any more.

use super::{AT_ONCE, ENTRIES, LetGo, STORM_INTERVAL, STORM_ROUNDS, vector};
use crate::harness::checks::Checks;
use crate::harness::{compat, setup};
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, cycles, khz, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::emulated::Emulated;
use crate::machine::devices::{Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use pvir_guest::abi::DeviceId;

/// How long nothing comes of a device that the host has cut off, and not only its own thread is late.
const LONG_QUIET_MS: u64 = 300;

pub(super) fn run(rounds: u64, by: LetGo) -> ExitCode {
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let function = setup::with_msix(&functions).next();
    match function.and_then(|function| Trapped::open(function, &mut checks)) {
        Some(mut trapped) => {
            let went = (0..rounds).try_for_each(|round| trapped.round(round, by));
            let detail =
                format_args!("{rounds} storms ended by the host, and served again: {:?}", went.err());
            checks.expect("storms", went.is_ok() && rounds > 0, detail);
            trapped.table.mask_all();
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no table of it")),
    }
    checks.finish("storms")
}

struct Trapped<'a> {
    function: &'a Function,
    id: DeviceId,
    driver: Device,
    generator: Option<Emulated>,
    table: RawMsixTable,
    entries: u16,
}

impl<'a> Trapped<'a> {
    fn open(function: &'a Function, checks: &mut Checks) -> Option<Self> {
        let driver = setup::driver(function, checks)?;
        let generator = Emulated::open(function).map(|(_, generator)| generator);
        let table = RawMsixTable::open_masked(function)?;
        let entries = driver.vectors().min(table.len()).min(u16::try_from(ENTRIES).ok()?);
        let id = device_id(function.address)?;
        println!("{id}: {entries} entries, trapped");
        let trapped = Self { function, id, driver, generator, table, entries };
        trapped.program()?;
        Some(trapped)
    }

    /// Messages of our own, not to the CPU that looks, where there is another.
    fn program(&self) -> Option<()> {
        let cpu = cpu::by_index(cpu::count().max(1) - 1).map_or(0, |cpu| cpu.apic_id);
        (0..self.entries).try_for_each(|entry| {
            let message = compat::message(cpu, vector(entry.into()))?;
            compat::program(&self.table, entry, message).then_some(())
        })
    }

    fn handled(&self) -> u64 {
        (0..self.entries).map(|entry| interrupts::total(vector(entry.into()))).sum()
    }

    /// Goes on with the storm.
    fn storm(&mut self) {
        match &self.generator {
            Some(generator) if generator.rounds_left() > 0 => {}
            Some(generator) => generator.run(0, self.entries.into(), STORM_INTERVAL, STORM_ROUNDS),
            None => {
                for entry in (0..AT_ONCE).flat_map(|_| 0..self.entries) {
                    self.driver.raise(entry);
                    self.driver.acknowledge(entry);
                }
            }
        }
    }

    /// Whether nothing comes for a while, though the device storms on.
    fn is_silent(&mut self) -> bool {
        let before = self.handled();
        !wait_until(LONG_QUIET_MS, || {
            self.storm();
            self.handled() > before
        })
    }

    fn round(&mut self, round: u64, by: LetGo) -> Result<(), &'static str> {
        let (before, begun) = (self.handled(), cycles());
        let mut last = begun;
        let ended = wait_until(PATIENCE_MS, || {
            last = cycles();
            self.is_silent()
        });
        if !ended {
            return Err("the device storms on");
        }
        let milliseconds = last.wrapping_sub(begun) / khz().max(1);
        let handled = self.handled() - before;
        if handled == 0 {
            return Err("nothing came of the storm");
        }
        if !self.is_silent() {
            return Err("something comes after the cut");
        }
        report::event("storm", |event| {
            event.num("round", round).num("milliseconds", milliseconds).num("handled", handled);
        });
        if let Some(generator) = &self.generator {
            generator.stop();
        }
        let Self { function, id, driver, .. } = self;
        by.let_go(function, *id, driver).ok_or("the device cannot be reset")?;
        // What is programmed while it is cut off acts afterwards (V10); a reset has cleared it (Z5).
        if by == LetGo::Guest {
            self.program().ok_or("the table does not keep what is written")?;
        }
        for entry in 0..self.entries {
            let before = interrupts::total(vector(entry.into()));
            let served = wait_until(by.patience(), || {
                self.driver.raise(entry);
                self.driver.acknowledge(entry);
                wait_until(QUIET_MS, || interrupts::total(vector(entry.into())) > before)
            });
            if !served {
                return Err("an entry is not served again");
            }
        }
        Ok(())
    }
}
