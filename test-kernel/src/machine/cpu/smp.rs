//! Starting the other processors, and giving them work.

#![expect(unsafe_code, reason = "the trampoline is copied and patched; work is kept as a pointer")]

use super::time::{PATIENCE_MS, delay_us, wait_until};
use super::{Cpu, MAX_CPUS, apic, by_index, count, create, current, idt, install, publish};
use crate::machine::boot::BootInfo;
use crate::machine::memory::{paging, physical};
use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use pvir_test_kernel::{acpi, cmdline::NotANumber};
use x86_64::instructions::{interrupts, port::Port};

global_asm!(include_str!("trampoline.s"), options(att_syntax));

/// Where the trampoline is copied to: RAM on every PC, and no VMM's start info is read after this.
const TRAMPOLINE: u64 = 0x8000;
/// SIPI is sent again if nothing happened: some emulations lose it while INIT is under way.
const STARTUP_ATTEMPTS: u64 = 20;

/// Work for a processor: gets the argument, its result goes back.
pub(crate) type Job = fn(u64) -> u64;

/// Where a processor finds its work.
pub(super) struct Mailbox {
    state: AtomicU32,
    job: AtomicPtr<()>,
    /// The argument on the way there, the result on the way back.
    word: AtomicU64,
}

const IDLE: u32 = 0;
const POSTED: u32 = 1;
const DONE: u32 = 2;

impl Mailbox {
    pub(super) const fn empty() -> Self {
        Self {
            state: AtomicU32::new(IDLE),
            job: AtomicPtr::new(core::ptr::null_mut()),
            word: AtomicU64::new(0),
        }
    }
}

/// Why a processor cannot be started or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SmpError {
    NoX2Apic,
    NoMemory,
    TooMany,
    CpuList(NotANumber<'static>),
    /// The processor with this APIC id did not start.
    DidNotStart(u32),
    /// There is no such processor.
    NoSuchCpu(usize),
    /// The processor has not finished what it was given before.
    Busy(usize),
    /// The processor did not finish in time.
    TimedOut(usize),
}

impl fmt::Display for SmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoX2Apic => write!(f, "cpu: no x2APIC (help: give the VM's CPU model x2apic)"),
            Self::NoMemory => write!(f, "cpu: not enough RAM for its stacks (help: 128 KiB for each CPU)"),
            Self::TooMany => write!(f, "cpu: more than {MAX_CPUS}"),
            Self::CpuList(error) => write!(f, "{error}"),
            Self::DidNotStart(id) => write!(f, "cpu: the one with APIC id {id} did not start"),
            Self::NoSuchCpu(index) => write!(f, "cpu {index}: does not exist"),
            Self::Busy(index) => write!(f, "cpu {index}: busy"),
            Self::TimedOut(index) => write!(f, "cpu {index}: did not finish in time"),
        }
    }
}

impl core::error::Error for SmpError {}

/// Makes the boot processor usable and starts all others, as ACPI or `cpus=` on the command line lists them.
pub(crate) fn start_all(boot: &BootInfo) -> Result<(), SmpError> {
    mask_legacy_interrupts();
    if !apic::is_supported() {
        return Err(SmpError::NoX2Apic);
    }
    idt::init();
    apic::enable();
    let own_id = apic::id();
    let cpu = create(0, own_id).ok_or(SmpError::NoMemory)?;
    install(cpu);
    publish(cpu);
    interrupts::enable();
    copy_trampoline();
    let mut outcome = Ok(());
    let mut start_one = |id: u32| {
        if id != own_id && outcome.is_ok() {
            outcome = start(id);
        }
    };
    if boot.command_line.value("cpus").is_some() {
        let start_numbered = |id: u64| start_one(u32::try_from(id).unwrap_or(u32::MAX));
        boot.command_line.list("cpus", start_numbered).map_err(SmpError::CpuList)?;
    } else if boot.rsdp == 0 {
        log::warn!("cpu: no ACPI tables and no cpus= on the command line: one CPU");
    } else if let Err(error) = acpi::each_cpu(&physical::Memory, boot.rsdp, start_one) {
        log::warn!("cpu: {error}: only the CPUs listed so far");
    }
    outcome?;
    log::info!("cpu: {} running, boot processor has APIC id {own_id}", count());
    Ok(())
}

/// Runs `job` on a processor (also on this one) and waits for its result.
pub(crate) fn run_on(cpu: usize, job: Job, argument: u64) -> Result<u64, SmpError> {
    if cpu == current().index {
        return Ok(job(argument));
    }
    start_on(cpu, job, argument)?;
    wait_for(cpu, PATIENCE_MS)
}

/// Gives `job` to another processor and does not wait.
pub(crate) fn start_on(cpu: usize, job: Job, argument: u64) -> Result<(), SmpError> {
    let target = by_index(cpu).filter(|_| cpu != current().index).ok_or(SmpError::NoSuchCpu(cpu))?;
    let mailbox = &target.mailbox;
    if mailbox.state.load(Ordering::Acquire) != IDLE {
        return Err(SmpError::Busy(cpu));
    }
    mailbox.job.store(job as *mut (), Ordering::Relaxed);
    mailbox.word.store(argument, Ordering::Relaxed);
    mailbox.state.store(POSTED, Ordering::Release);
    apic::wake(target.apic_id);
    Ok(())
}

/// Waits for the result of [`start_on`].
pub(crate) fn wait_for(cpu: usize, budget_ms: u64) -> Result<u64, SmpError> {
    let mailbox = &by_index(cpu).ok_or(SmpError::NoSuchCpu(cpu))?.mailbox;
    if !wait_until(budget_ms, || mailbox.state.load(Ordering::Acquire) == DONE) {
        return Err(SmpError::TimedOut(cpu));
    }
    let result = mailbox.word.load(Ordering::Relaxed);
    mailbox.state.store(IDLE, Ordering::Release);
    Ok(result)
}

/// Under SeaBIOS the two PICs are live, with vectors among the exceptions.
fn mask_legacy_interrupts() {
    for data_port in [0x21, 0xa1] {
        // SAFETY: all ones in the mask register of a PIC; where there is none, nobody listens.
        unsafe { Port::<u8>::new(data_port).write(0xff) };
    }
}

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_cr3: u8;
    static trampoline_stack: u8;
    static trampoline_cpu: u8;
    static trampoline_entry: u8;
}

fn copy_trampoline() {
    let start = &raw const trampoline_start;
    let length = (&raw const trampoline_end) as usize - start as usize;
    // SAFETY: a page of low RAM that nothing uses any more; the source is a part of the kernel.
    unsafe { core::ptr::copy_nonoverlapping(start, TRAMPOLINE as *mut u8, length) };
    patch(&raw const trampoline_cr3, paging::root());
    patch(&raw const trampoline_entry, ap_entry as *const () as u64);
}

/// Sets a word of the copy.
fn patch(symbol: *const u8, value: u64) {
    let offset = symbol as u64 - (&raw const trampoline_start) as u64;
    let word = (TRAMPOLINE + offset) as *mut u64;
    // SAFETY: inside of the copy, 8-byte aligned; the processor that reads it is started afterwards.
    unsafe { word.write_volatile(value) };
}

fn start(apic_id: u32) -> Result<(), SmpError> {
    let index = count();
    if index >= MAX_CPUS {
        return Err(SmpError::TooMany);
    }
    let cpu = create(index, apic_id).ok_or(SmpError::NoMemory)?;
    patch(&raw const trampoline_stack, cpu.stacks.main);
    patch(&raw const trampoline_cpu, core::ptr::from_ref(cpu) as u64);
    apic::send_init(apic_id);
    delay_us(200);
    for _ in 0..STARTUP_ATTEMPTS {
        #[expect(clippy::cast_possible_truncation, reason = "a page number below 1 MiB")]
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        if wait_until(PATIENCE_MS / STARTUP_ATTEMPTS, || cpu.online.load(Ordering::Acquire)) {
            return Ok(());
        }
    }
    Err(SmpError::DidNotStart(apic_id))
}

/// Where the trampoline arrives, on the processor's own stack.
extern "C" fn ap_entry(cpu: &'static Cpu) -> ! {
    install(cpu);
    apic::enable();
    publish(cpu);
    loop {
        // Interrupts stay off between the look into the mailbox and the halt, so the wake-up cannot be missed.
        interrupts::disable();
        if cpu.mailbox.state.load(Ordering::Acquire) == POSTED {
            interrupts::enable();
            work(&cpu.mailbox);
        } else {
            interrupts::enable_and_hlt();
        }
    }
}

fn work(mailbox: &Mailbox) {
    let job = mailbox.job.load(Ordering::Relaxed);
    // SAFETY: the state was POSTED, so `start_on` has put a `Job` there.
    let job = unsafe { core::mem::transmute::<*mut (), Job>(job) };
    let result = job(mailbox.word.load(Ordering::Relaxed));
    mailbox.word.store(result, Ordering::Relaxed);
    mailbox.state.store(DONE, Ordering::Release);
}
