//! Where each entry's interrupts may come: to the place that the last RETARGET asked for, and to the one before as long as
//! its processor has not taken what was delivered there until then.

use crate::machine::cpu::{self, interrupts};
use crate::machine::memory::dma::Dma;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::Once;

/// Entries at most: each has two vectors.
pub(super) const MOST: usize = 64;
const FIRST_VECTOR: u8 = 0x40;

type Words = [AtomicU32; MOST];

/// A place as one word: the number of the processor, and the vector.
static FROM: Words = [const { AtomicU32::new(0) }; MOST];
static TO: Words = [const { AtomicU32::new(0) }; MOST];
/// How often the kernel has raised an entry whose device writes no numbers.
static RAISED: Words = [const { AtomicU32::new(0) }; MOST];
static HANDLED: Words = [const { AtomicU32::new(0) }; MOST];
static ALL_HANDLED: AtomicU64 = AtomicU64::new(0);
/// The highest number that a handler saw.
static SEEN: Words = [const { AtomicU32::new(0) }; MOST];
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
static TWICE: AtomicU64 = AtomicU64::new(0);
/// Where the device writes its numbers.
static AREA: Once<Dma> = Once::new();

/// What came of it all.
pub(super) struct Tally {
    pub(super) handled: u64,
    pub(super) elsewhere: u64,
    pub(super) twice: u64,
}

fn word(words: &Words, entry: usize) -> u32 {
    words.get(entry).map_or(0, |word| word.load(Ordering::Acquire))
}

fn set(words: &Words, entry: usize, value: u32) {
    if let Some(word) = words.get(entry) {
        word.store(value, Ordering::Release);
    }
}

fn place(cpu: usize, vector: u8) -> u32 {
    u32::try_from(cpu).unwrap_or(0) << 8 | u32::from(vector)
}

fn vector(entry: usize, second: bool) -> u8 {
    FIRST_VECTOR + u8::try_from(2 * entry).unwrap_or(0) + u8::from(second)
}

/// The first places, and the handlers.
pub(super) fn begin(entries: usize, area: Option<Dma>) {
    if let Some(area) = area {
        AREA.call_once(|| area);
    }
    for entry in 0..entries {
        let first = place(entry % cpu::count().max(1), vector(entry, false));
        set(&FROM, entry, first);
        set(&TO, entry, first);
        interrupts::set_handler(vector(entry, false), Some(handler));
        interrupts::set_handler(vector(entry, true), Some(handler));
    }
}

pub(super) fn end(entries: usize) {
    for entry in 0..entries {
        interrupts::set_handler(vector(entry, false), None);
        interrupts::set_handler(vector(entry, true), None);
    }
}

fn handler(vector: u8) {
    let entry = usize::from(vector.saturating_sub(FIRST_VECTOR)) / 2;
    let here = place(cpu::current().index, vector);
    // In this order: a mover goes on from a place only when this processor's loop has gone on, which it does not in here.
    if word(&TO, entry) != here && word(&FROM, entry) != here {
        ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
    let (Some(handled), Some(seen)) = (HANDLED.get(entry), SEEN.get(entry)) else { return };
    // The number was written before the interrupt was sent, so no more can have come than it says.
    let number = raised(entry);
    seen.fetch_max(number, Ordering::AcqRel);
    if handled.fetch_add(1, Ordering::AcqRel) >= number {
        TWICE.fetch_add(1, Ordering::Relaxed);
    }
    ALL_HANDLED.fetch_add(1, Ordering::AcqRel);
}

/// How often an entry was raised.
fn raised(entry: usize) -> u32 {
    AREA.get().map_or_else(|| word(&RAISED, entry), |area| area.read(entry as u64 * 8))
}

/// The kernel is about to raise it.
pub(super) fn raises(entry: usize) {
    set(&RAISED, entry, word(&RAISED, entry) + 1);
}

pub(super) fn handled(entry: usize) -> u32 {
    word(&HANDLED, entry)
}

pub(super) fn all_handled() -> u64 {
    ALL_HANDLED.load(Ordering::Acquire)
}

pub(super) fn saw_the_last(entry: usize) -> bool {
    word(&SEEN, entry) == raised(entry)
}

/// How many interrupts of an entry were merged with the one before.
pub(super) fn merged(entry: usize) -> u64 {
    raised(entry).saturating_sub(handled(entry)).into()
}

/// APIC id and vector that an entry goes to.
pub(super) fn current(entry: usize) -> (u32, u8) {
    let [.., vector] = word(&TO, entry).to_be_bytes();
    (cpu::by_index(cpu_of(word(&TO, entry))).map_or(0, |cpu| cpu.apic_id), vector)
}

fn cpu_of(place: u32) -> usize {
    (place >> 8) as usize
}

/// The place of an entry's next move: another processor as a rule, and the other vector always.
pub(super) fn move_on(entry: usize, round: u64) {
    let step = 1 + usize::try_from(round % 3).unwrap_or(0);
    let cpu = (cpu_of(word(&TO, entry)) + step) % cpu::count().max(1);
    set(&TO, entry, place(cpu, vector(entry, word(&TO, entry) & 1 == 0)));
}

/// Processor and vector of the place before.
pub(super) fn former(entry: usize) -> (usize, u8) {
    let [.., vector] = word(&FROM, entry).to_be_bytes();
    (cpu_of(word(&FROM, entry)), vector)
}

/// The groups of 32 vectors that the entries have.
pub(super) fn groups() -> impl Iterator<Item = u8> {
    FIRST_VECTOR / 32..=vector(MOST - 1, true) / 32
}

/// Nothing may come to the former place any more.
pub(super) fn settled(entry: usize) {
    set(&FROM, entry, word(&TO, entry));
}

/// What came of it all, added up.
pub(super) fn tally() -> Tally {
    Tally {
        handled: all_handled(),
        elsewhere: ELSEWHERE.load(Ordering::Relaxed),
        twice: TWICE.load(Ordering::Relaxed),
    }
}
