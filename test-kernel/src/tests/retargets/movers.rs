//! The processors that move: each has a part of the entries, and one RETARGET for all of them.
//!
//! When RETARGET has returned nothing more is delivered to the former place. What was delivered there before waits in that
//! processor's local APIC until it takes it. So each processor shows over and over what waits in its own, and a mover takes
//! the former place for wrong once it has seen there, behind the call, that nothing waits any more.

use super::places;
use crate::harness::live_entries::LiveEntry;
use crate::harness::moves::Moves;
use crate::machine::cpu::time::PATIENCE_MS;
use crate::machine::cpu::{self, apic, smp};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use pvir_guest::conduit::HardwareConduit;
use spin::Mutex;

/// Processors at most.
const CPUS: usize = 8;
/// Looks at a local APIC, of which one lies wholly behind a call that returned before the first.
const LOOKS: u64 = 2;
/// Groups of 32 vectors.
const GROUPS: usize = 8;

static MOVERS: [Mutex<Option<Mover>>; CPUS] = [const { Mutex::new(None) }; CPUS];
/// What waits in each local APIC, and how often it was looked at.
static WAITING: [[AtomicU64; GROUPS]; CPUS] = [const { [const { AtomicU64::new(0) }; GROUPS] }; CPUS];
static LOOKED: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
static MOVES: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

struct Mover {
    moves: Moves,
    entries: Range<usize>,
    round: u64,
    /// How often the local APICs had been looked at when the last call returned.
    since: [u64; CPUS],
    /// The entries before this one have settled.
    settled: usize,
}

/// Divides the entries among all processors. Nothing if there is no memory, or too many processors.
pub(super) fn prepare(conduit: HardwareConduit, entries: &[LiveEntry]) -> Option<()> {
    let size = entries.len().div_ceil(cpu::count().max(1)).max(1);
    for ((number, part), mover) in entries.chunks(size).enumerate().zip(&MOVERS) {
        let entries = number * size..number * size + part.len();
        let settled = entries.end;
        let moves = Moves::new(conduit, part)?;
        *mover.lock() = Some(Mover { moves, entries, round: 0, since: [0; CPUS], settled });
    }
    (cpu::count() <= CPUS).then_some(())
}

/// The other processors begin; this one moves its part in [`turn`].
pub(super) fn start() -> Result<(), smp::SmpError> {
    (1..cpu::count()).try_for_each(|cpu| smp::start_on(cpu, work, cpu as u64))
}

/// Has the other processors end; how many calls were refused.
pub(super) fn stop() -> Result<u64, smp::SmpError> {
    STOP.store(true, Ordering::Release);
    (1..cpu::count()).try_for_each(|cpu| smp::wait_for(cpu, PATIENCE_MS).map(drop))?;
    Ok(REFUSED.load(Ordering::Relaxed))
}

/// Entries moved so far.
pub(super) fn moves() -> u64 {
    MOVES.load(Ordering::Relaxed)
}

/// Rounds of moves of the processor that has made fewest.
pub(super) fn fewest() -> u64 {
    let rounds = |mover: &Mutex<Option<Mover>>| mover.lock().as_ref().map(|mover| mover.round);
    MOVERS.iter().filter_map(rounds).min().unwrap_or(0)
}

/// Job: moves until it is to stop.
fn work(_: u64) -> u64 {
    while !STOP.load(Ordering::Acquire) {
        turn();
    }
    0
}

/// One turn of this processor's loop: shows its local APIC, and moves its entries if all have settled.
pub(super) fn turn() {
    look();
    let Some(mut mover) = MOVERS.get(cpu::current().index).map(Mutex::lock) else { return };
    if let Some(mover) = mover.as_mut() {
        mover.turn();
    }
}

impl Mover {
    fn turn(&mut self) {
        let Range { start, end } = self.entries;
        while self.settled < end && has_taken(places::former(self.settled), &self.since) {
            places::settled(self.settled);
            self.settled += 1;
        }
        if self.settled < end {
            return;
        }
        self.entries.clone().for_each(|entry| places::move_on(entry, self.round));
        let moved = self.moves.go(|place| places::current(start + place));
        self.since = looked();
        self.settled = start;
        self.round += 1;
        MOVES.fetch_add((end - start) as u64, Ordering::Relaxed);
        REFUSED.fetch_add(u64::from(moved.is_err()), Ordering::Relaxed);
    }
}

/// Shows what waits in this processor's local APIC.
fn look() {
    let cpu = cpu::current().index;
    let (Some(waiting), Some(looked)) = (WAITING.get(cpu), LOOKED.get(cpu)) else { return };
    for (group, words) in places::groups().zip(waiting) {
        words.store(apic::requested(group), Ordering::Release);
    }
    looked.fetch_add(1, Ordering::Release);
}

fn looked() -> [u64; CPUS] {
    core::array::from_fn(|cpu| LOOKED[cpu].load(Ordering::Acquire))
}

/// Whether a processor has taken what was delivered to this place before `since`.
fn has_taken((cpu, vector): (usize, u8), since: &[u64; CPUS]) -> bool {
    let group = places::groups().position(|group| group == vector / 32).unwrap_or(0);
    let behind = LOOKED[cpu].load(Ordering::Acquire) >= since[cpu] + LOOKS;
    behind && WAITING[cpu][group].load(Ordering::Acquire) >> (vector % 32) & 1 == 0
}
