//! Every entry of a large device on every processor of a large machine.
//!
//! In round *r* entry *e* goes to processor (*e* + *r*) mod *n*, all entries are raised once, and each must be handled
//! once, at its place. As many rounds as there are processors bring each entry to each processor; `rounds=` bounds it,
//! `from=` says with which to begin, and the kernel tells what part of all pairs it has seen.

use super::checks::Checks;
use super::direct;
use super::fleet::{self, Failed, Fleet};
use crate::console::report;
use crate::cpu::time::{PATIENCE_MS, cycles, khz, wait_until};
use crate::cpu::{self, interrupts};
use crate::devices::emulated::Emulated;
use crate::exit::ExitCode;
use crate::println;
use crate::remapping::Session;
use pvir_guest::Target;
use pvir_guest::abi::DeviceId;
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

/// Where an entry goes: no two of a round have one place.
fn place(entry: usize, round: u64) -> (usize, u8) {
    let cpus = cpu::count().max(1);
    let cpu = (entry + usize::try_from(round).unwrap_or(0)) % cpus;
    // Entries of one processor differ by multiples of `cpus`, so each such row has vectors of its own.
    let rows = 2048_usize.div_ceil(cpus);
    let stride = (VECTORS / rows).max(1);
    let vector = FIRST_VECTOR + (entry / cpus) * stride + (entry % cpus) % stride;
    (cpu, u8::try_from(vector).unwrap_or(u8::MAX))
}

fn target(entry: u32, round: u64) -> Target {
    let (cpu, vector) = place(entry as usize, round);
    Target::fixed(cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id), vector)
}

pub(super) fn run(line: CommandLine<'static>) -> ExitCode {
    let (rounds, from) = match (line.number("rounds"), line.number("from")) {
        (Ok(rounds), Ok(from)) => (rounds.unwrap_or(ROUNDS), from.unwrap_or(0)),
        (Err(error), _) | (_, Err(error)) => return direct::usage(&error),
    };
    let session = match direct::open(line) {
        Ok(session) => session,
        Err(code) => return code,
    };
    let mut checks = Checks::new();
    match Emulated::find() {
        Some((id, driver)) => campaign(&session, id, &driver, from..from.saturating_add(rounds), &mut checks),
        None => checks.expect("device", false, format_args!("no emulated device with MSI-X")),
    }
    let disabled = session.disable();
    checks.expect("disable", disabled.is_ok(), format_args!("the host has everything back"));
    checks.finish("scale")
}

fn campaign(
    session: &Session,
    id: DeviceId,
    driver: &Emulated,
    rounds: core::ops::Range<u64>,
    checks: &mut Checks,
) {
    let Some(mut fleet) = fleet::fleet(0) else { return };
    let start = cycles();
    let table = match fleet::table(0, id) {
        Ok(table) => table,
        Err(error) => return checks.expect("table", false, format_args!("{error}")),
    };
    let entries = table.len();
    if entries as usize > VECTORS * cpu::count() {
        return checks.expect(
            "vectors",
            false,
            format_args!("{entries} entries are too many for the processors"),
        );
    }
    let mapped = fleet::enlist(session, table, &mut fleet, entries, |entry| target(entry, rounds.start));
    let live = fleet.len();
    let told = mapped.as_ref().err().map_or_else(|| "", |_| ", not all");
    checks.expect(
        "map",
        mapped.is_ok(),
        format_args!("{live} entries of {entries} mapped and unmasked{told}"),
    );
    if let Err(error) = mapped {
        return println!("error: {error}");
    }
    let mut done = 0;
    let mut failed = None;
    for round in rounds.clone() {
        failed = go_round(session, driver, &mut fleet, round, round != rounds.start).err();
        if failed.is_some() {
            break;
        }
        done += 1;
        if done % PROGRESS == 0 {
            println!("{done} rounds, {} s", cycles().wrapping_sub(start) / (khz() * 1000));
        }
    }
    if let Some(failed) = &failed {
        match failed {
            RoundFailed::Retarget(error) => println!("error: retarget: {error}"),
            RoundFailed::Lost { entry, round } => {
                let (cpu, vector) = place(*entry, *round);
                println!(
                    "error: entry {entry} was not handled on CPU {cpu}, vector {vector}, in round {round}"
                );
            }
        }
    }
    checks.expect("rounds", failed.is_none(), format_args!("{done} rounds, {live} entries raised in each"));
    tally(live as u64, done, checks);
}

enum RoundFailed {
    Retarget(Failed),
    Lost { entry: usize, round: u64 },
}

/// Moves all entries, raises each once, and waits for all.
fn go_round(
    session: &Session,
    driver: &Emulated,
    fleet: &mut Fleet,
    round: u64,
    retarget: bool,
) -> Result<(), RoundFailed> {
    if retarget {
        fleet::retarget(session, fleet, |entry| target(entry, round)).map_err(RoundFailed::Retarget)?;
    }
    let mut expected = EXPECTED.lock();
    for entry in 0..fleet.len() {
        let (cpu, vector) = place(entry, round);
        expected[cpu][usize::from(vector)] += 1;
    }
    // One exit; the device raises from a thread of its own while this processor looks.
    driver.run(0, u32::try_from(fleet.len()).unwrap_or(0), 1, 1);
    for entry in 0..fleet.len() {
        let (cpu, vector) = place(entry, round);
        let wanted = u64::from(expected[cpu][usize::from(vector)]);
        if !wait_until(PATIENCE_MS, || interrupts::count(cpu, vector) >= wanted) {
            return Err(RoundFailed::Lost { entry, round });
        }
    }
    Ok(())
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
