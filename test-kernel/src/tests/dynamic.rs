//! Entries come and go one by one while another device entry keeps firing from a second processor, and while those that
//! are there are raised after each step: nothing is lost, and every count is exact.

mod storm;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::counted_interrupt::{CountedInterrupt, Sum, report_entry};
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::cpu;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::DeviceFlags;
use pvir_guest::{Entry, Live, MsixEntry, MsixTable};
use pvir_test_kernel::cmdline::CommandLine;
use storm::Storm;

/// Most entries that come and go.
const MAX_ENTRIES: usize = 8;
/// How often each comes and goes, unless `rounds=` says otherwise.
const ROUNDS: u64 = 10;

type Lines = ArrayVec<CountedInterrupt, MAX_ENTRIES>;
/// At the place of each line, its entry while it is mapped.
type Entries = ArrayVec<Option<Entry<MsixEntry<Kernel>, Live>>, MAX_ENTRIES>;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let session = setup::open(line)?;
    report::checkpoint("enabled");
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let found = setup::with_msix(&functions).next();
    match found {
        Some(function) => device(&session, function, rounds, &mut checks),
        None => checks.record("device", &Outcome::Skipped("no device with MSI-X"), format_args!("")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("dynamic"))
}

fn device(session: &Session, function: &Function, rounds: u64, checks: &mut Checks) {
    let Some(id) = device_id(function.address) else { return };
    // Two drivers of one device: each raises entries of its own, by a register of which every bit is one cause.
    let drivers = (devices::probe(function), devices::probe(function));
    let (Ok(Some(mut driver)), Ok(Some(second)), Ok(table)) =
        (drivers.0, drivers.1, MsixTable::open(Kernel, id))
    else {
        return checks.expect("device", false, format_args!("{id}: no driver or no table"));
    };
    driver.init();
    let name = devices::name(function).unwrap_or("device");
    let Some(info) = setup::info(session, id, name, checks) else { return };
    let dynamic = info.flags.contains(DeviceFlags::DYNAMIC);
    checks.expect("dynamic", dynamic, format_args!("{id}: entries come and go without stopping the others"));
    let mut field = Field { session, table, driver, rounds, checks };
    let finished = field.run(second);
    checks.expect("finished", finished.is_some(), format_args!("{id}: all rounds were gone through"));
}

struct Field<'a> {
    session: &'a Session,
    table: MsixTable<Kernel>,
    driver: Device,
    rounds: u64,
    checks: &'a mut Checks,
}

impl Field<'_> {
    /// Answers nothing when a step has failed so that the next makes no sense.
    fn run(&mut self, second: Device) -> Option<()> {
        let wanted = usize::from(self.driver.vectors()).min(MAX_ENTRIES + 1);
        let first = Vectors::new().take(wanted)?;
        // The last processor fires entry 0 by itself, and handles it.
        let own = CountedInterrupt::new(self.table.origin(0), Destination::on(cpu::count() - 1, first)?);
        let steady = self.add(&own)?;
        let storm = Storm::start(own, second);
        let numbered = (1u8..).take(wanted - 1).zip(first + 1..);
        let mut lines: Lines = numbered
            .filter_map(|(index, vector)| {
                let place = Destination::on(usize::from(index) % (cpu::count() - 1).max(1), vector)?;
                Some(CountedInterrupt::new(self.table.origin(index.into()), place))
            })
            .collect();
        let mut entries: Entries = lines.iter().map(|_| None).collect();
        report::checkpoint("mapped");
        let mut steps = 0u64;
        for round in 0..self.rounds {
            for number in order(round, lines.len()) {
                entries[number] = Some(self.add(&lines[number])?);
                steps += self.raise_all(&entries, &mut lines);
            }
            for number in order(round + 1, lines.len()) {
                self.remove(entries[number].take()?)?;
                steps += self.raise_all(&entries, &mut lines);
            }
        }
        report::checkpoint("stormed");
        self.close(storm, &lines, steps);
        self.remove(steady)
    }

    /// Maps one entry, programs it and lets it send.
    fn add(&mut self, line: &CountedInterrupt) -> Option<Entry<MsixEntry<Kernel>, Live>> {
        let origin = line.origin();
        let irte = match self.session.map(line.request()) {
            Ok(irte) => irte,
            Err(error) => return self.fail(format_args!("map: {error}")),
        };
        report_entry(&irte, line.place());
        let Some(entry) = self.table.claim(origin.index) else {
            return self.fail(format_args!("{origin} cannot be claimed"));
        };
        match entry.program(irte) {
            Ok(programmed) => Some(programmed.unmask()),
            Err(failed) => self.fail(format_args!("{failed}")),
        }
    }

    /// Masks one entry and gives its IRTE back.
    fn remove(&mut self, entry: Entry<MsixEntry<Kernel>, Live>) -> Option<()> {
        let (entry, irte) = match entry.mask() {
            Ok(programmed) => programmed.retire(),
            Err(failed) => return self.fail(format_args!("{failed}")),
        };
        match self.session.unmap(irte) {
            Ok(()) => {
                drop(entry);
                Some(())
            }
            Err(failed) => self.fail(format_args!("unmap: {failed}")),
        }
    }

    fn fail<T>(&mut self, detail: fmt::Arguments<'_>) -> Option<T> {
        self.checks.expect("step", false, detail);
        None
    }

    /// Raises each that is mapped, each handled before the next. Answers 1: a step was done.
    fn raise_all(&mut self, entries: &Entries, lines: &mut Lines) -> u64 {
        for (number, line) in (1u16..).zip(lines.iter_mut()) {
            if entries[usize::from(number) - 1].is_some() {
                line.raise(|| self.driver.raise(number));
                self.driver.acknowledge(number);
            }
        }
        1
    }

    /// Every interrupt that was raised came once, where it should, those of the storm too.
    fn close(&mut self, storm: Option<Storm>, lines: &Lines, steps: u64) {
        let mut all = Sum::default();
        let mut exact = true;
        for line in lines {
            let sum = line.report("steps", 0);
            exact &= sum.is_exact();
            all += sum;
        }
        self.checks.expect("delivered", exact, format_args!("{steps} steps: {all}"));
        let Some(storm) = storm else {
            let why = Outcome::Skipped("one processor has no other that fires meanwhile");
            return self.checks.record("storm", &why, format_args!(""));
        };
        match storm.stop() {
            Some(line) => {
                let sum = line.report("storm", 0);
                let right = sum.is_exact() && sum.raised >= steps;
                self.checks.expect("storm", right, format_args!("meanwhile, by another processor: {sum}"));
            }
            None => {
                self.checks.expect("storm", false, format_args!("the processor that fires does not stop"));
            }
        }
    }
}

/// The numbers below `count`, upwards or downwards, from another one in each round.
fn order(round: u64, count: usize) -> ArrayVec<usize, MAX_ENTRIES> {
    let start = usize::try_from(round).unwrap_or(0);
    let turn = |step: usize| (start + step) % count;
    if round % 2 == 0 { (0..count).map(turn).collect() } else { (0..count).rev().map(turn).collect() }
}
