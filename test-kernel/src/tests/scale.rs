//! Every entry of a large device on every processor of a large machine.
//!
//! In round *r* entry *e* goes to processor (*e* + *r*) mod *n*, all entries are raised once, and each must be handled
//! once, at its place. As many rounds as there are processors bring each entry to each processor; `rounds=` bounds it,
//! `from=` says with which to begin, and the kernel tells what part of all pairs it has seen.

use crate::harness::checks::Checks;
use crate::harness::live_entries::LiveTable;
use crate::harness::moves::Moves;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, cycles, khz, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::emulated::Emulated;
use crate::machine::exit::ExitCode;
use crate::println;
use crate::remapping::{self, Session};
use arrayvec::ArrayVec;
use core::ops::Range;
use pvir_guest::Target;
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::conduit::HardwareConduit;
use pvir_test_kernel::cmdline::CommandLine;
use spin::Mutex;

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 16;
/// Vectors for devices here: clear of what the kernel uses for itself.
const FIRST_VECTOR: usize = 0x30;
const VECTORS: usize = 200;
/// How often the kernel says where it is.
const PROGRESS: u64 = 25;

/// How often each vector of each processor must have been handled.
static EXPECTED: Mutex<[[u16; 256]; cpu::MAX_CPUS]> = Mutex::new([[0; 256]; cpu::MAX_CPUS]);

/// Where an entry goes in round 0: number of the processor, and the vector, which it keeps.
type Home = (usize, u8);
static HOMES: Mutex<ArrayVec<Home, 2048>> = Mutex::new(ArrayVec::new_const());

/// No two entries of a round have one place.
fn home(entry: usize) -> Home {
    let cpus = cpu::count().max(1);
    // Entries of one processor differ by multiples of `cpus`, so each such row has vectors of its own.
    let rows = 2048_usize.div_ceil(cpus);
    let stride = (VECTORS / rows).max(1);
    let vector = FIRST_VECTOR + (entry / cpus) * stride + (entry % cpus) % stride;
    (entry % cpus, u8::try_from(vector).unwrap_or(u8::MAX))
}

/// The processor in a round.
fn turn(home: Home, round: u64, cpus: usize) -> usize {
    let cpus = cpus.max(1);
    let steps = usize::try_from(round % cpus as u64).unwrap_or(0);
    (home.0 + steps) % cpus
}

fn apic_id(cpu: usize) -> u32 {
    cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id)
}

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let from = setup::number(line, "from", 0)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let conduit = remapping::discover(line).map(|(_, conduit)| conduit);
    match Emulated::find().zip(conduit.ok()) {
        Some(((id, driver), conduit)) => {
            let campaign =
                Campaign { session: &session, conduit, driver, rounds: from..from.saturating_add(rounds) };
            campaign.run(id, &mut checks);
        }
        None => checks.expect("device", false, format_args!("no emulated device with MSI-X")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("scale"))
}

struct Campaign<'a> {
    session: &'a Session,
    conduit: HardwareConduit,
    driver: Emulated,
    rounds: Range<u64>,
}

enum RoundFailed {
    Retarget(Status),
    Lost { entry: usize, cpu: usize, vector: u8 },
}

impl Campaign<'_> {
    fn run(&self, id: DeviceId, checks: &mut Checks) {
        let mut homes = HOMES.lock();
        let start = cycles();
        let mut table = match LiveTable::open(id) {
            Ok(table) => table,
            Err(error) => return checks.expect("table", false, format_args!("{error}")),
        };
        let (entries, cpus) = (table.size(), cpu::count());
        if entries as usize > VECTORS * cpus {
            let what = format_args!("{entries} entries are too many for the processors");
            return checks.expect("vectors", false, what);
        }
        homes.extend((0..entries as usize).map(home));
        let target = |entry: u32| {
            let home = homes[entry as usize];
            Target::fixed(apic_id(turn(home, self.rounds.start, cpus)), home.1)
        };
        let mapped = table.extend(self.session, entries, target);
        let live = table.live().len();
        let moves = Moves::new(self.conduit, table.live());
        checks.expect(
            "map",
            mapped.is_ok(),
            format_args!("{live} of {entries} entries: {:?}", mapped.as_ref().err()),
        );
        let (Ok(()), Some(moves)) = (mapped, moves) else { return };
        let mut done = 0;
        for round in self.rounds.clone() {
            if let Err(failed) = self.go_round(&moves, &homes, round) {
                match failed {
                    RoundFailed::Retarget(status) => println!("error: RETARGET in round {round}: {status:?}"),
                    RoundFailed::Lost { entry, cpu, vector } => {
                        println!(
                            "error: entry {entry} did not come to CPU {cpu}, vector {vector}, in round {round}"
                        );
                    }
                }
                break;
            }
            done += 1;
            if done % PROGRESS == 0 {
                println!("{done} rounds, {} s", cycles().wrapping_sub(start) / (khz() * 1000));
            }
        }
        let all = done == self.rounds.end - self.rounds.start;
        checks.expect("rounds", all, format_args!("{done} rounds, {live} entries raised in each"));
        tally(live as u64, done, checks);
    }

    /// Moves all entries, raises each once, and waits for all.
    fn go_round(&self, moves: &Moves, homes: &[Home], round: u64) -> Result<(), RoundFailed> {
        let cpus = cpu::count();
        let place = |home: Home| (apic_id(turn(home, round, cpus)), home.1);
        moves.go(|entry| place(homes[entry])).map_err(RoundFailed::Retarget)?;
        let mut expected = EXPECTED.lock();
        for home in homes {
            expected[turn(*home, round, cpus)][usize::from(home.1)] += 1;
        }
        // One exit; the device raises from a thread of its own while this processor looks.
        self.driver.run(0, u32::try_from(homes.len()).unwrap_or(0), 1, 1);
        for (entry, home) in homes.iter().enumerate() {
            let (cpu, vector) = (turn(*home, round, cpus), home.1);
            let wanted = u64::from(expected[cpu][usize::from(vector)]);
            if !wait_until(PATIENCE_MS, || interrupts::count(cpu, vector) >= wanted) {
                return Err(RoundFailed::Lost { entry, cpu, vector });
            }
        }
        Ok(())
    }
}

/// Compares every vector of every processor with what it must have been.
fn tally(entries: u64, rounds: u64, checks: &mut Checks) {
    let expected = EXPECTED.lock();
    let (mut raised, mut missing, mut elsewhere) = (0, 0, 0);
    for cpu in 0..cpu::count() {
        for vector in interrupts::FIRST_DEVICE..=u8::MAX {
            let wanted = u64::from(expected[cpu][usize::from(vector)]);
            let handled = interrupts::count(cpu, vector);
            raised += wanted;
            missing += wanted.saturating_sub(handled);
            elsewhere += handled.saturating_sub(wanted);
        }
    }
    let handled = interrupts::grand_total();
    let cpus = cpu::count() as u64;
    let (pairs, all) = (entries * rounds.min(cpus), entries * cpus);
    let percent = pairs * 100 / all.max(1);
    report::event("scale", |event| {
        event
            .num("entries", entries)
            .num("cpus", cpus)
            .num("highest_apic_id", cpu::all().map(|cpu| cpu.apic_id).max().unwrap_or(0))
            .num("rounds", rounds)
            .num("raised", raised)
            .num("handled", handled)
            .num("missing", missing)
            .num("elsewhere", elsewhere)
            .num("pairs", pairs)
            .num("pairs_all", all);
    });
    checks.expect(
        "delivered",
        raised > 0 && missing == 0 && elsewhere == 0 && handled == raised,
        format_args!("{raised} raised, {handled} handled, {missing} missing, {elsewhere} elsewhere or twice"),
    );
    println!("{pairs} of {all} pairs of entry and CPU were gone through: {percent} %");
}
