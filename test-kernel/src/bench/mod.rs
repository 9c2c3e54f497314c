//! What set-up, retarget, mask, unmask and tear-down of a device's vectors cost the guest, in cycles: with pvir, or by the
//! accesses that a Linux guest makes to a trapped table. The same kernel measures both, under any VMM.
//!
//! Words: `vectors=` (all of the table), `rounds=`, `mode=direct` or `mode=trapped` (what the host offers), `batch=`
//! entries in one call, `interrupts=` to measure delivery with, `ring=3` to do the steps in ring 3.

mod delivery;
mod direct;
mod sample;
mod trapped;

use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::{self, time};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function, bars};
use crate::println;
use pvir_test_kernel::cmdline::CommandLine;
use sample::{Ring, Round};

/// Most entries of an MSI-X table.
const MAX: usize = 2048;
/// The vectors that entries share; the others are the kernel's.
const FIRST_VECTOR: u8 = 0x30;
const VECTORS: usize = 160;
/// Entries that are masked and unmasked in one sample, and how often all of them are.
const MASKED: usize = 16;
const MASK_ROUNDS: usize = 4;

/// What the command line asks for.
#[derive(Clone, Copy)]
struct Plan {
    vectors: u64,
    rounds: u64,
    batch: usize,
    interrupts: u64,
    ring: Ring,
}

impl Plan {
    fn read(line: CommandLine<'static>) -> Result<Self, ExitCode> {
        let number = |key, otherwise| setup::number(line, key, otherwise);
        Ok(Self {
            vectors: number("vectors", MAX as u64)?,
            rounds: number("rounds", 3)?,
            batch: usize::try_from(number("batch", 512)?.clamp(1, 512)).unwrap_or(512),
            interrupts: number("interrupts", 0)?,
            ring: if number("ring", 0)? == 3 { Ring::User } else { Ring::Kernel },
        })
    }
}

/// A method of programming the first entries of a table. Every step answers whether it went as it should.
trait Method {
    /// Name of the method, as events carry it.
    const NAME: &'static str;
    /// Entries.
    fn len(&self) -> usize;
    /// Accesses to the device's table so far, where this method knows that they may be trapped.
    fn accesses(&self) -> u64;
    /// Calls of the host so far.
    fn calls(&self) -> u64;
    /// Every entry from nothing to unmasked.
    fn set_up(&mut self, shift: usize) -> bool;
    /// The first `count` entries to the place that they have with this shift.
    fn retarget(&mut self, count: usize, shift: usize) -> bool;
    /// Masks the first `count` entries, then unmasks them.
    fn mask(&mut self, count: usize) -> bool;
    fn unmask(&mut self, count: usize) -> bool;
    /// Every entry back to nothing.
    fn tear_down(&mut self) -> bool;
}

/// APIC id and vector of an entry: each shift is another processor, and another vector.
fn destination(entry: usize, shift: usize) -> (u32, u8) {
    let cpu = cpu::by_index((entry + shift) % cpu::count().max(1));
    let vector = usize::from(FIRST_VECTOR) + (entry + shift * 7) % VECTORS;
    (cpu.map_or(0, |cpu| cpu.apic_id), u8::try_from(vector).unwrap_or(u8::MAX))
}

pub(crate) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let plan = Plan::read(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let Some(function) = functions.iter().find(is_subject) else {
        checks.expect("device", false, format_args!("no device with MSI-X"));
        return Ok(checks.finish("bench"));
    };
    let driver = ready(function, &mut checks);
    let direct = match line.value("mode") {
        Some(mode) => mode == "direct",
        None => pvir_guest::discover().is_ok(),
    };
    if direct {
        let session = setup::open_silently(line)?;
        match direct::Direct::open(&session, function, plan) {
            Ok(way) => measure(way, plan, driver, &mut checks),
            Err(what) => checks.expect("table", false, format_args!("{what}")),
        }
        setup::report_session(&session);
        setup::close(session, &mut checks);
    } else {
        match trapped::Trapped::open(function, plan) {
            Some(way) => measure(way, plan, driver, &mut checks),
            None => checks.expect("table", false, format_args!("no MSI-X table")),
        }
    }
    Ok(checks.finish("bench"))
}

/// MSI-X, and not one of the devices that a VMM has for itself.
fn is_subject(function: &&Function) -> bool {
    let virtio = function.vendor == 0x1af4 && function.device < 0x1100;
    !virtio && function.msix().is_some()
}

/// Its registers on, and its driver if there is one: without, everything but delivery is measured.
fn ready(function: &Function, checks: &mut Checks) -> Option<Device> {
    if let Some(slot) = function.msix().map(|msix| msix.table_bar()) {
        // told only if it fails: nothing is printed before the first interrupt
        if let Err(error) = bars::registers(function, slot) {
            checks.expect("bar", false, format_args!("of the table: {error:?}"));
        }
    }
    let mut driver = devices::probe(function).ok().flatten()?;
    driver.init();
    Some(driver)
}

fn measure<W: Method>(mut way: W, plan: Plan, driver: Option<Device>, checks: &mut Checks) {
    let vectors = way.len();
    let mut driver = driver.filter(|_| plan.interrupts > 0);
    let mut right = true;
    for number in 0..plan.rounds {
        let round = once(&mut way, plan.ring, &mut right, || {
            if number == 0 {
                // before anything is printed: each byte is an exit
                if let Some(driver) = &mut driver {
                    delivery::first(driver, checks);
                }
                begin::<W>(vectors, plan);
            }
            if let Some(driver) = driver.as_mut().filter(|_| number + 1 == plan.rounds) {
                delivery::measure(driver, vectors, plan.interrupts, checks);
            }
        });
        report::event("bench", |event| {
            event.str("mode", W::NAME).num("vectors", vectors as u64).num("round", number);
            round.report(event);
        });
    }
    report::event("bench-end", |event| {
        event.str("mode", W::NAME).num("accesses", way.accesses()).num("calls", way.calls());
    });
    checks.expect("bench", right && plan.rounds > 0, format_args!("{}: every step as it should", W::NAME));
}

fn begin<W: Method>(vectors: usize, plan: Plan) {
    println!("{}: {vectors} vectors, {} rounds", W::NAME, plan.rounds);
    report::event("bench-start", |event| {
        event.str("mode", W::NAME).num("vectors", vectors as u64).num("khz", time::khz());
    });
}

/// All steps once. `live` is called while every entry is.
fn once<W: Method>(way: &mut W, ring: Ring, right: &mut bool, live: impl FnOnce()) -> Round {
    let mut round = Round::default();
    let all = way.len();
    let few = all.min(MASKED);
    round.set_up.take(way, ring, right, all, |way| way.set_up(0));
    live();
    for shift in 1..=MASK_ROUNDS {
        round.retarget_one.take(way, ring, right, 1, |way| way.retarget(1, shift));
    }
    round.retarget_all.take(way, ring, right, all, |way| way.retarget(all, 1));
    for _ in 0..MASK_ROUNDS {
        round.mask.take(way, ring, right, few, |way| way.mask(few));
        round.unmask.take(way, ring, right, few, |way| way.unmask(few));
    }
    round.tear_down.take(way, ring, right, all, Method::tear_down);
    round
}
