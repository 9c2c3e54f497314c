//! Every vector of a device is moved from place to place, by several processors at once, while the device raises: no
//! interrupt is lost, none comes twice, and none comes to a processor or vector that was not asked for.
//!
//! The first processor has each entry raised once and waits for all, round after round (`rounds=`); then the emulated device
//! raises at its own rate for a while (`free=` rounds), so that many interrupts of an entry are under way, and some are
//! merged. All processors move their part of the entries without a pause meanwhile.

mod movers;
mod places;

use crate::harness::checks::Checks;
use crate::harness::live_entries::LiveTable;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, cycles, khz, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::emulated::Emulated;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::memory::dma::Dma;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use crate::remapping::Session;
use places::{MOST, Tally};
use pvir_guest::Target;
use pvir_guest::conduit::HardwareConduit;
use pvir_test_kernel::cmdline::CommandLine;

/// Rounds with a look at each, unless `rounds=` says otherwise, and rounds at the device's own rate unless `free=` does.
const ROUNDS: u64 = 1_000;
const FREE: u64 = 0;
/// Microseconds from one of those to the next.
const INTERVAL: u32 = 20;
/// The kernel says where it is some ten times.
const PROGRESS: u64 = 10;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let free = setup::number(line, "free", FREE)?;
    let session = setup::open(line)?;
    let (_, conduit) = setup::discover(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let function = setup::with_msix(&functions).next();
    match function.and_then(|function| Storm::open(function, &session, conduit)) {
        Some(_) if cpu::count() < 2 => checks.expect("movers", false, format_args!("one processor only")),
        Some(mut storm) => {
            report::checkpoint("moving");
            storm.run(rounds, free, &mut checks);
            storm.close(&session);
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no entry of it")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("retargets"))
}

struct Storm {
    driver: Device,
    /// The same, if it raises by itself.
    generator: Option<Emulated>,
    table: LiveTable,
    entries: usize,
}

impl Storm {
    /// Nothing if an entry cannot be had.
    fn open(function: &Function, session: &Session, conduit: HardwareConduit) -> Option<Self> {
        let id = device_id(function.address)?;
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let generator = Emulated::open(function).map(|(_, generator)| generator);
        let mut table = LiveTable::open(id).ok()?;
        let entries = MOST.min(table.size() as usize).min(driver.vectors().into());
        let area = generator.is_some().then(|| Dma::allocate(entries as u64 * 8)).flatten();
        if let (Some(generator), Some(area)) = (&generator, area) {
            generator.write_sequences(area.address());
        }
        places::begin(entries, area);
        let target = |entry: u32| {
            let (apic_id, vector) = places::current(entry as usize);
            Target::fixed(apic_id, vector)
        };
        table.extend(session, u32::try_from(entries).ok()?, target).ok()?;
        movers::prepare(conduit, table.live())?;
        println!("{id}: {entries} entries, {} processors move them", cpu::count());
        Some(Self { driver, generator, table, entries })
    }

    fn run(&mut self, rounds: u64, free: u64, checks: &mut Checks) {
        let begun = cycles();
        let started = movers::start();
        checks.expect(
            "movers",
            started.is_ok(),
            format_args!("{} processors: {:?}", cpu::count(), started.err()),
        );
        let mut raised = 0;
        let done = (0..rounds).take_while(|round| {
            let arrived = self.round(*round);
            raised += u64::from(arrived) * self.entries as u64;
            if round % (rounds / PROGRESS).max(1) == 0 {
                println!("round {round}, {} moves", movers::moves());
            }
            arrived
        });
        let done = done.count() as u64;
        checks.expect(
            "arrived",
            done == rounds,
            format_args!("{done} of {rounds} rounds, each interrupt once"),
        );
        let merged = self.free(u32::try_from(free).unwrap_or(u32::MAX), checks);
        raised += free * self.entries as u64;
        let refused = movers::stop();
        checks.expect("calls", refused == Ok(0), format_args!("RETARGETs that were refused: {refused:?}"));
        let milliseconds = cycles().wrapping_sub(begun) / khz().max(1);
        let fewest = movers::fewest();
        checks.expect(
            "each",
            fewest > 0,
            format_args!("each processor moved its entries {fewest} times or more"),
        );
        conclude(raised, merged, milliseconds, checks);
    }

    /// Raises each entry once and waits for all; whether all came.
    fn round(&mut self, round: u64) -> bool {
        let wanted = u32::try_from(round + 1).unwrap_or(u32::MAX);
        match &self.generator {
            Some(generator) => generator.run(0, u32::try_from(self.entries).unwrap_or(0), 1, 1),
            None => (0..self.entries).for_each(|entry| {
                places::raises(entry);
                self.driver.raise(u16::try_from(entry).unwrap_or(0));
            }),
        }
        let all = wait_until(PATIENCE_MS, || {
            movers::turn();
            places::all_handled() >= u64::from(wanted) * self.entries as u64
        });
        let each = (0..self.entries).all(|entry| places::handled(entry) == wanted);
        if self.generator.is_none() {
            (0..self.entries).for_each(|entry| self.driver.acknowledge(u16::try_from(entry).unwrap_or(0)));
        }
        all && each
    }

    /// The device raises by itself; how many interrupts were merged with one before.
    fn free(&mut self, rounds: u32, checks: &mut Checks) -> u64 {
        let Some(generator) = self.generator.as_ref().filter(|_| rounds > 0) else { return 0 };
        let count = u32::try_from(self.entries).unwrap_or(0);
        generator.run(0, count, INTERVAL, rounds);
        let over = wait_until(PATIENCE_MS * 6, || {
            movers::turn();
            generator.rounds_left() == 0
        });
        let last = wait_until(PATIENCE_MS, || {
            movers::turn();
            (0..self.entries).all(places::saw_the_last)
        });
        checks.expect(
            "last",
            over && last,
            format_args!("the last number of each was seen: {last}, raised: {over}"),
        );
        (0..self.entries).map(places::merged).sum()
    }

    fn close(mut self, session: &Session) {
        places::end(self.entries);
        self.table.unmap_first(session, self.entries);
    }
}

fn conclude(raised: u64, merged: u64, milliseconds: u64, checks: &mut Checks) {
    let Tally { handled, elsewhere, twice } = places::tally();
    let moves = movers::moves();
    report::event("retargets", |event| {
        event
            .num("raised", raised)
            .num("handled", handled)
            .num("merged", merged)
            .num("retargets", moves)
            .num("elsewhere", elsewhere)
            .num("twice", twice)
            .num("milliseconds", milliseconds);
    });
    checks.expect("elsewhere", elsewhere == 0, format_args!("{elsewhere} at a place that was not asked for"));
    checks.expect("twice", twice == 0, format_args!("{twice} more than were raised by then"));
    let all = handled + merged == raised && moves > 0;
    checks.expect(
        "lost",
        all,
        format_args!("{raised} raised, {handled} handled, {merged} merged, {moves} moves"),
    );
    let counted = interrupts::grand_total();
    checks.expect(
        "others",
        counted == handled,
        format_args!("{counted} interrupts counted, {handled} of the device"),
    );
}
