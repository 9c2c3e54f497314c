//! Processors: each one's own data, reachable through GS, and a table of all of them.

#![expect(unsafe_code, reason = "per-CPU data found through GS and shared by pointer")]

pub(crate) mod apic;
pub(crate) mod cpuid;
mod exceptions;
mod idt;
pub(crate) mod interrupts;
pub(crate) mod probe;
mod segments;
pub(crate) mod smp;
pub(crate) mod time;
pub(crate) mod usermode;
pub(crate) mod xmm;

use crate::machine::memory::frames;
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

pub(crate) use smp::start_all;

/// No machine with more is of use here; ids may be sparse.
pub(crate) const MAX_CPUS: usize = 512;

/// What a processor has for itself. The first two fields are known to `stubs.s`.
#[repr(C, align(64))]
pub(crate) struct Cpu {
    /// GS:0, so that the pointer can be had with one instruction.
    this: *const Cpu,
    /// GS:8, where ring 0's stack was when ring 3 was entered; 0 while nothing runs there.
    ring0_stack: Cell<u64>,
    /// What ring 3 wants done in ring 0.
    errand: Cell<*const usermode::Errand>,
    /// Position in the table: 0 is the boot processor.
    pub(crate) index: usize,
    /// The 32-bit id that messages are sent to.
    pub(crate) apic_id: u32,
    stacks: segments::Stacks,
    segments: segments::Segments,
    online: AtomicBool,
    mailbox: smp::Mailbox,
    counts: [AtomicU64; 256],
}

// SAFETY: `this`, `ring0_stack` and `errand` are used by the processor itself alone, `segments` is written before the
// processor is published, and everything else is atomic.
unsafe impl Sync for Cpu {}

static TABLE: [AtomicPtr<Cpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The processor that executes this.
pub(crate) fn current() -> &'static Cpu {
    let this: *const Cpu;
    // SAFETY: GS points to the data of this processor from `install` on, and its first word to itself.
    unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly)) };
    // SAFETY: per-CPU data lives for ever and is shared only as the `Sync` above says.
    unsafe { &*this }
}

/// How many processors run.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// The processor at a position of the table.
pub(crate) fn by_index(index: usize) -> Option<&'static Cpu> {
    let cpu = TABLE.get(index)?.load(Ordering::Acquire);
    // SAFETY: the table holds null or data that lives for ever.
    unsafe { cpu.as_ref() }
}

/// All running processors, the boot processor first.
pub(crate) fn all() -> impl Iterator<Item = &'static Cpu> {
    (0..count()).filter_map(by_index)
}

/// The processor with this APIC id.
pub(crate) fn by_apic_id(apic_id: u32) -> Option<&'static Cpu> {
    all().find(|cpu| cpu.apic_id == apic_id)
}

/// Makes the data of a processor that is about to run; `None` when memory is short.
fn create(index: usize, apic_id: u32) -> Option<&'static Cpu> {
    const PAGES: u64 = (size_of::<Cpu>() as u64).div_ceil(frames::PAGE);
    let place = frames::allocate(PAGES)?.cast::<Cpu>();
    let stacks = segments::Stacks::allocate()?;
    let cpu = Cpu {
        this: place.as_ptr(),
        ring0_stack: Cell::new(0),
        errand: Cell::new(core::ptr::null()),
        index,
        apic_id,
        stacks,
        segments: segments::Segments::empty(),
        online: AtomicBool::new(false),
        mailbox: smp::Mailbox::empty(),
        counts: [const { AtomicU64::new(0) }; 256],
    };
    // SAFETY: the pages are this function's alone, large enough and aligned to more than `Cpu` needs.
    unsafe { place.write(cpu) };
    let mut place = place;
    // SAFETY: just written, and nobody else knows the place yet.
    let cpu = unsafe { place.as_mut() };
    cpu.segments.fill(&cpu.stacks);
    Some(cpu)
}

/// Makes this processor use its own GS, GDT, TSS and the common IDT.
fn install(cpu: &'static Cpu) {
    segments::load(cpu);
    idt::load();
}

/// Enters a running processor into the table.
fn publish(cpu: &'static Cpu) {
    TABLE[cpu.index].store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Release);
    COUNT.fetch_max(cpu.index + 1, Ordering::AcqRel);
    // Last, as the next processor is started upon this and takes its position from the count.
    cpu.online.store(true, Ordering::Release);
}
