//! From CPUID to a session: what a kernel does once.

#![expect(unsafe_code, reason = "hands statics to the driver and the host")]

use crate::machine::cpu::usermode;
use core::fmt;
use pvir_guest::abi::{Conduits, Features, GuestPhysAddr, Status};
use pvir_guest::conduit::{Conduit, HardwareConduit, NoUsableConduit};
use pvir_guest::{
    Disabled, Discovered, EnableOptions, Error, NotDiscovered, Notify, Pvir, Remapping, RequestBlock,
    StaticEventArea,
};
use pvir_test_kernel::cmdline::CommandLine;
use x86_64::PhysAddr;

/// pvir, enabled.
pub(crate) type Session = Remapping<AnyRing>;

/// The hardware's conduit, from ring 3 too: by way of ring 0, as the host wants it.
#[derive(Debug)]
pub(crate) struct AnyRing(HardwareConduit);

impl Conduit for AnyRing {
    fn reaches(&self, block: GuestPhysAddr) -> bool {
        self.0.reaches(block)
    }

    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        // SAFETY: the caller's promise is the one that is asked for.
        let call = || unsafe { self.0.call(block) };
        usermode::in_ring0(call).unwrap_or(Status::PRIVILEGE)
    }
}

/// What this kernel knows how to use. EPOCH comes with its area.
const KNOWN: Features =
    Features::all().difference(Features::EPOCH.union(Features::NOTIFY).union(Features::ATTACH));

/// What a session has of this kernel's memory.
struct Memory {
    block: RequestBlock<512>,
    events: StaticEventArea,
}

impl Memory {
    const fn new() -> Self {
        Self { block: RequestBlock::new(), events: StaticEventArea::new() }
    }
}

static MEMORY: Memory = Memory::new();
/// That of a kernel which takes the VM over from the one whose memory is [`MEMORY`].
static MEMORY_OF_NEXT: Memory = Memory::new();

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum NoSession {
    /// The machine has no pvir.
    NotDiscovered(NotDiscovered),
    /// `conduit=` names one that does not work here, or that nobody knows.
    Conduit(NoUsableConduit),
    UnknownConduit,
    /// The block or the event area is not where it must be, or is in use.
    Memory,
    /// The host refused, or spoke nonsense.
    Host(Error),
}

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDiscovered(error) => error.fmt(f),
            Self::Conduit(error) => error.fmt(f),
            Self::UnknownConduit => f.write_str("conduit= takes vmcall, vmmcall, msr or port"),
            Self::Memory => f.write_str("the request block or the event area is not aligned"),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl From<Error> for NoSession {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

/// Finds pvir, and the conduit: the best, or the one that `conduit=` names.
pub(crate) fn discover(line: CommandLine<'static>) -> Result<(Discovered, HardwareConduit), NoSession> {
    let discovered = pvir_guest::discover().map_err(NoSession::NotDiscovered)?;
    let asked = match line.value("conduit") {
        None => Conduits::all(),
        Some("vmcall") => Conduits::VMCALL,
        Some("vmmcall") => Conduits::VMMCALL,
        Some("msr") => Conduits::MSR,
        Some("port") => Conduits::PORT,
        Some(_) => return Err(NoSession::UnknownConduit),
    };
    let conduit = discovered.conduit_among(asked).map_err(NoSession::Conduit)?;
    Ok((discovered, conduit))
}

/// Discovers, negotiates and enables with everything of what the host offers that this kernel knows; with NOTIFY if there
/// is a vector for it. Called once.
pub(crate) fn open(line: CommandLine<'static>, notify: Option<Notify>) -> Result<Session, NoSession> {
    begin(line, &MEMORY, |options| match notify {
        Some(notify) => options.with_notify(notify),
        None => options,
    })
}

/// The same, and no device is handed over. Called once.
pub(crate) fn open_by_device(line: CommandLine<'static>) -> Result<Session, NoSession> {
    begin(line, &MEMORY, EnableOptions::device_by_device)
}

/// The same with NOTIFY. Called once.
pub(crate) fn open_by_device_with(line: CommandLine<'static>, notify: Notify) -> Result<Session, NoSession> {
    begin(line, &MEMORY, |options| options.device_by_device().with_notify(notify))
}

/// The same as [`open`], as a kernel does it that finds the session of another. Called once.
pub(crate) fn take_over(line: CommandLine<'static>) -> Result<Session, NoSession> {
    begin(line, &MEMORY_OF_NEXT, EnableOptions::taking_over)
}

/// `memory` is used once.
fn begin(
    line: CommandLine<'static>,
    memory: &'static Memory,
    adjust: impl FnOnce(EnableOptions) -> EnableOptions,
) -> Result<Session, NoSession> {
    let (discovered, conduit) = discover(line)?;
    // SAFETY: the memory is used once; the image is mapped at its physical addresses.
    let block = unsafe { memory.block.memory(physical(&raw const memory.block)) }.ok_or(NoSession::Memory)?;
    let pvir = Pvir::negotiate(&discovered, AnyRing(conduit), block)?;
    let options = known(&pvir);
    let options = if pvir.limits().features.contains(Features::EPOCH) {
        // SAFETY: as for the block.
        let area =
            unsafe { memory.events.memory(physical(&raw const memory.events)) }.ok_or(NoSession::Memory)?;
        options.with_events(area)
    } else {
        options
    };
    pvir.enable(adjust(options)).map_err(|failed| NoSession::Host(failed.error))
}

/// Enables once more after DISABLE, with the same event area and without NOTIFY. Every device is handed over.
pub(crate) fn enable_again(disabled: Disabled<AnyRing>) -> Result<Session, Error> {
    let options = known(&disabled.pvir);
    let options = match disabled.events {
        Some(area) => options.with_events(area),
        None => options,
    };
    disabled.pvir.enable(options).map_err(|failed| failed.error)
}

/// Everything of what the host offers that this kernel knows, but for what needs an event area.
fn known(pvir: &Pvir<AnyRing>) -> EnableOptions {
    EnableOptions::new(pvir.limits().features & KNOWN)
}

fn physical<T>(place: *const T) -> PhysAddr {
    PhysAddr::new(place as u64)
}
