//! A hostile guest: calls at random from two processors against ENABLE and DISABLE, into blocks that are scribbled over
//! during the call, and configuration space and MSI-X tables at random meanwhile, BARs anywhere. Nothing may come of it but
//! statuses, and when it is over everything must work as before, with nothing left.
//!
//! What is done follows from `seed=` alone, processor by processor; how the processors meet does not. Nothing is raised
//! meanwhile: a message of random data may be an INIT, which is the guest's own to suffer.

mod caller;
mod machine;
mod random;

use crate::conformance;
use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu;
use crate::machine::cpu::{smp, usermode};
use crate::machine::exit::ExitCode;
use crate::println;
use caller::{Caller, Sum};
use core::sync::atomic::{AtomicBool, Ordering};
use machine::Machine;
use pvir_test_kernel::cmdline::CommandLine;
use random::Random;
use spin::Mutex;

/// Calls unless `calls=` says otherwise, and the seed unless `seed=` does.
const CALLS: u64 = 100_000;
const SEED: u64 = 11;
/// Calls of a round: a half of them by both processors at once, a quarter under fire, a quarter beside the devices.
const ROUND: u64 = 2_000;
/// What is done to the devices in a round.
const ACTS: u64 = 200;
/// The processor that calls, or scribbles, beside the first.
const HELPER: usize = 1;
/// Milliseconds for what the helper does in one scene.
const PATIENCE_MS: u64 = 240_000;
/// What must hold afterwards: interrupts arrive trapped and direct, everything is given back, handles are told apart.
const AFTERWARDS: [&str; 10] = ["D1", "C1", "F1", "I2", "X1", "M1", "M5", "U1", "H2", "T1"];

static SECOND: Mutex<Option<Caller>> = Mutex::new(None);
/// The block that is scribbled over.
static TARGET: Mutex<Option<crate::raw::Raw>> = Mutex::new(None);
static OVER: AtomicBool = AtomicBool::new(false);

/// `hostile [calls=N] [seed=N] [checkpoints]`.
pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let calls = setup::number(line, "calls", CALLS)?;
    let seed = setup::number(line, "seed", SEED)?;
    let (discovered, conduit) = setup::discover(line)?;
    let mut checks = Checks::new();
    if cpu::count() <= HELPER {
        let reason = Outcome::Skipped("this machine has one processor");
        checks.record("hostile", &reason, format_args!(""));
        return Ok(checks.finish("hostile"));
    }
    let caller = |number| Caller::new(conduit, discovered, Random::new(seed, number));
    let (mut first, second) = (caller(0)?, caller(1)?);
    *TARGET.lock() = Some(first.block());
    *SECOND.lock() = Some(second);
    let mut all = Sum::default();
    let mut machine = Machine::open(Random::new(seed, 2));
    let mut accesses = 0;
    let rounds = calls.div_ceil(ROUND);
    report::checkpoint("begun");
    for round in 0..rounds {
        let before = all.odd;
        all += together(&mut first, ROUND / 4)?;
        all += under_fire(&mut first, ROUND / 4, seed ^ round << 8)?;
        let (sum, at_devices) = meanwhile(&mut machine, ROUND / 4)?;
        machine.restore();
        all += sum;
        accesses += at_devices;
        if round % 5 == 4 || all.odd > before {
            println!("hostile: {all}, {accesses} accesses to configuration space and tables, seed {seed}");
        }
    }
    checks.expect("answers", all.odd == 0, format_args!("{all}, {accesses} accesses, seed {seed}"));
    first.end();
    report::event("hostile", |event| {
        event.num("seed", seed).num("calls", all.calls).num("accesses", accesses);
    });
    checks.expect("calls", all.calls >= calls, format_args!("{} of {calls}", all.calls));
    let left = first.features();
    let nothing = (left.enabled, left.irtes) == (0, 0);
    checks.expect("left", nothing, format_args!("{} IRTEs, features {:#x}", left.irtes, left.enabled));
    report::checkpoint("over");
    let judged = conformance::judge(line, |statement| AFTERWARDS.contains(&statement.id))?;
    Ok(if checks.all_passed() { judged } else { ExitCode::Fail })
}

/// Both processors call, each into a block of its own.
fn together(first: &mut Caller, calls: u64) -> Result<Sum, ExitCode> {
    smp::start_on(HELPER, call, calls).map_err(|error| setup::refuse(&error))?;
    let sum = first.calls(calls);
    smp::wait_for(HELPER, PATIENCE_MS).map_err(|error| setup::refuse(&error))?;
    Ok(sum + second())
}

/// The first calls, and the helper writes into its block.
fn under_fire(first: &mut Caller, calls: u64, seed: u64) -> Result<Sum, ExitCode> {
    OVER.store(false, Ordering::Relaxed);
    smp::start_on(HELPER, scribble, seed).map_err(|error| setup::refuse(&error))?;
    let sum = first.calls_under_fire(calls);
    OVER.store(true, Ordering::Relaxed);
    smp::wait_for(HELPER, PATIENCE_MS).map_err(|error| setup::refuse(&error))?;
    Ok(sum)
}

/// The helper calls, and the first is at the devices; how many accesses that were.
fn meanwhile(machine: &mut Machine, calls: u64) -> Result<(Sum, u64), ExitCode> {
    smp::start_on(HELPER, call, calls).map_err(|error| setup::refuse(&error))?;
    let accesses = machine.act(ACTS);
    smp::wait_for(HELPER, PATIENCE_MS).map_err(|error| setup::refuse(&error))?;
    Ok((second(), accesses))
}

/// What the helper's last scene came to.
fn second() -> Sum {
    SECOND.lock().as_mut().map(Caller::take_sum).unwrap_or_default()
}

/// Job: so many calls.
fn call(calls: u64) -> u64 {
    if let Some(caller) = SECOND.lock().as_mut() {
        let sum = caller.calls(calls);
        caller.keep(sum);
    }
    0
}

/// Job: writes over the header and the first records of the other processor's block until told to stop.
fn scribble(seed: u64) -> u64 {
    let target = TARGET.lock();
    let Some(raw) = target.as_ref() else { return 0 };
    let mut random = Random::new(seed, 3);
    let scribbled = usermode::in_ring3(|| {
        let mut written = 0;
        while !OVER.load(Ordering::Relaxed) {
            let at = random.below(64 * 5);
            if !caller::is_area(at) {
                raw.set_byte(usize::try_from(at).unwrap_or(0), scribbled(at, &mut random));
            }
            written += 1;
        }
        written
    });
    scribbled.ok().flatten().unwrap_or(0)
}

/// Mostly what could stand there, so that most calls get past the first look.
fn scribbled(at: u64, random: &mut Random) -> u8 {
    match at {
        0..6 if random.one_in(64) => random.byte(),
        0..6 => *b"PVRQ\x01\x00".get(usize::try_from(at).unwrap_or(0)).unwrap_or(&0),
        6 if random.one_in(512) => u8::try_from(random.below(5)).unwrap_or(1),
        // MAP, RETARGET, UNMAP, QUERY
        6 => u8::try_from(5 + random.below(4)).unwrap_or(5),
        12 => u8::try_from(random.below(5)).unwrap_or(1),
        7..12 | 13..16 | 32..64 if random.one_in(64) => random.byte(),
        7..12 | 13..16 | 32..64 => 0,
        _ => random.byte(),
    }
}
