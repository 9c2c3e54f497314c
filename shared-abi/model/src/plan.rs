//! The order in which the host does things: what the design is about.

use crate::design::{Design, Flaw};
use crate::world::{ENTRIES, Kind, Vm, Work};
use arrayvec::ArrayVec;

/// One thing that happens at once. Between two of them devices, vCPUs and KVM's queue go on. The number is the entry's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Judge the limits; take a slot, a GSI and an eventfd.
    Reserve(u8),
    /// Take a GSI and an eventfd, for a trapped entry.
    ReserveTrapped(u8),
    /// `KVM_SET_GSI_ROUTING` with the entry's new route.
    Route(u8),
    /// `KVM_SET_GSI_ROUTING` without the entry's route.
    Unroute(u8),
    /// `KVM_IRQFD`.
    Attach(u8),
    /// `KVM_IRQFD` with DEASSIGN, which waits for what is queued.
    Detach(u8),
    /// `VFIO_DEVICE_SET_IRQS`: an IRTE; the kernel writes pair and mask bit.
    Start(u8),
    /// `VFIO_DEVICE_SET_IRQS` with -1, its first part: the kernel masks the entry, and reads back, so that what was sent
    /// has arrived.
    Quiet(u8),
    /// Its second part: the IRTE is cleared, and what is on its way with it is blocked.
    Stop(u8),
    /// The mask bit of the physical entry is set.
    Mask(u8),
    /// The line's parts are free again, but for an irqfd that is still on.
    Free(u8),
    /// Handle, quota, and what was held are given back.
    Release(u8),
    /// MSI-X is switched off and on, every entry is masked, and the guest has the table.
    Open,
    /// MSI-X is switched off and on, every entry is masked, and the table is trapped.
    Close,
    /// An interrupt is held for each of the entries that were noted.
    Hold,
    /// Bus Master off.
    BusMasterOff,
    /// The device is reset; the kernel writes its own messages and mask bits back.
    ResetDevice,
    /// What was held for the device's entries is dropped.
    DropHeld,
    /// The mask bit of every entry is set.
    MaskAll,
    /// The device goes on.
    Readmit,
    /// The device is cut off from here on.
    CutOff,
    /// The event area is written, the epoch last.
    Epoch,
    /// vCPUs and emulated devices stop.
    Pause,
    /// The local APICs are read.
    ReadApics,
    /// A new process, with what was saved.
    Restore,
    /// vCPUs and devices go on.
    Resume,
    /// The guest has the answer.
    Answer,
}

/// The longest plan.
pub const MAX_STEPS: usize = 16;

/// The steps of a piece of work.
pub type Plan = ArrayVec<Step, MAX_STEPS>;

/// Collects steps; what would be beyond the longest plan shows in the unit test.
fn steps(all: &[Step]) -> Plan {
    all.iter().copied().take(MAX_STEPS).collect()
}

/// The steps of `work`. They depend on what was noted when it began, and not on what has happened since.
#[must_use]
pub fn plan(design: &Design, work: &Work) -> Plan {
    use Step::{
        Answer, Attach, BusMasterOff, Close, CutOff, Detach, DropHeld, Epoch, Free, Hold, Mask, MaskAll,
        Open, Pause, Quiet, ReadApics, Readmit, Release, Reserve, ReserveTrapped, ResetDevice, Restore,
        Resume, Route, Start, Stop, Unroute,
    };
    let e = work.entry;
    let has = |flaw| design.has(flaw);
    match work.kind {
        Kind::Map if work.target.is_none() => steps(&[Reserve(e), Start(e), Mask(e), Answer]),
        Kind::Map if has(Flaw::StartBeforeRoute) => {
            steps(&[Reserve(e), Attach(e), Start(e), Route(e), Mask(e), Answer])
        }
        Kind::Map if has(Flaw::MapLeavesUnmasked) => {
            steps(&[Reserve(e), Route(e), Attach(e), Start(e), Answer])
        }
        Kind::Map => steps(&[Reserve(e), Route(e), Attach(e), Start(e), Mask(e), Answer]),
        Kind::Retarget => retarget(design, work),
        Kind::TrapMove => match work.noted & QUEUED {
            0 => steps(&[Route(e), Answer]),
            _ => steps(&[Detach(e), Route(e), Attach(e), Answer]),
        },
        Kind::Unmap if has(Flaw::UnmapUnroutesFirst) => {
            steps(&[Unroute(e), Quiet(e), Stop(e), Detach(e), Free(e), Release(e), Answer])
        }
        Kind::Unmap if has(Flaw::UnmapAnswersFirst) => {
            steps(&[Release(e), Answer, Quiet(e), Stop(e), Detach(e), Unroute(e), Free(e)])
        }
        // An irqfd that nothing signals any more may be taken off later, if nothing of it is queued.
        Kind::Unmap if design.retires && (work.noted & QUEUED == 0 || has(Flaw::RetiresQueued)) => {
            steps(&[Quiet(e), Stop(e), Unroute(e), Free(e), Release(e), Answer])
        }
        Kind::Unmap => steps(&[Quiet(e), Stop(e), Detach(e), Unroute(e), Free(e), Release(e), Answer]),
        Kind::Attach => {
            let mut plan = down(work.noted, false);
            plan.push(Open);
            plan.extend((!has(Flaw::AttachHoldsNothing)).then_some(Hold));
            plan.push(Answer);
            plan
        }
        Kind::Detach => {
            let mut plan = down(work.noted >> ENTRIES, true);
            plan.push(Close);
            plan.extend((!has(Flaw::DetachHoldsNothing)).then_some(Hold));
            plan.push(Answer);
            plan
        }
        Kind::Reset if has(Flaw::ResetLeavesMaskBits) => {
            steps(&[BusMasterOff, ResetDevice, DropHeld, Readmit, Answer])
        }
        Kind::Reset if has(Flaw::ResetKeepsWhatWasHeld) => {
            steps(&[BusMasterOff, ResetDevice, MaskAll, Readmit, Answer])
        }
        Kind::Reset => steps(&[BusMasterOff, ResetDevice, DropHeld, MaskAll, Readmit, Answer]),
        Kind::CutOff if has(Flaw::CutOffOnlyInTheTable) => steps(&[CutOff, Epoch]),
        Kind::CutOff | Kind::Stale => {
            let cut = (work.kind == Kind::CutOff).then_some(CutOff);
            let early = has(Flaw::EpochFirst);
            let mut plan: Plan = early.then_some(Epoch).into_iter().collect();
            plan.extend(down(work.noted, true));
            plan.extend(cut);
            plan.extend((!early).then_some(Epoch));
            plan
        }
        Kind::Save => {
            let off = |plan: &mut Plan| plan.extend(bits(work.noted).map(Detach));
            let mut plan: Plan = [Pause].into_iter().collect();
            if has(Flaw::ApicsReadFirst) {
                plan.push(ReadApics);
                off(&mut plan);
            } else {
                off(&mut plan);
                plan.push(ReadApics);
            }
            plan.extend([Restore, Epoch, Resume]);
            plan
        }
        Kind::TrapUnmask => match work.noted & STARTED {
            0 => steps(&[ReserveTrapped(e), Route(e), Start(e), Attach(e), Answer]),
            _ => steps(&[Attach(e), Answer]),
        },
        Kind::TrapMask if has(Flaw::MaskDropsRoute) => steps(&[Unroute(e), Answer]),
        Kind::TrapMask => steps(&[Detach(e), Answer]),
    }
}

/// Noted of an entry: KVM may have an injection queued.
pub const QUEUED: u8 = 1;
/// Noted of an entry: it is started.
pub const STARTED: u8 = 2;
/// Noted of an entry: it is parked.
pub const PARKED: u8 = 4;

fn retarget(design: &Design, work: &Work) -> Plan {
    use Step::{Answer, Attach, Detach, DropHeld, Route, Start, Stop, Unroute};
    let e = work.entry;
    match (work.noted & PARKED != 0, work.target) {
        (true, None) => steps(&[Answer]),
        (true, Some(_)) if design.has(Flaw::UnparkDropsHeld) => {
            steps(&[Route(e), DropHeld, Attach(e), Answer])
        }
        (true, Some(_)) => steps(&[Route(e), Attach(e), Answer]),
        (false, None) if design.has(Flaw::ParkDropsRoute) => steps(&[Unroute(e), Answer]),
        (false, None) => steps(&[Detach(e), Unroute(e), Answer]),
        (false, Some(_)) if design.has(Flaw::MoveMakesNewPair) => {
            steps(&[Stop(e), Route(e), Start(e), Answer])
        }
        // What is queued has perhaps read the old route, and is waited for.
        (false, Some(_)) if work.noted & QUEUED != 0 && !design.has(Flaw::MoveLeavesQueued) => {
            steps(&[Detach(e), Route(e), Attach(e), Answer])
        }
        (false, Some(_)) => steps(&[Route(e), Answer]),
    }
}

/// Numbers of the bits.
fn bits(of: u8) -> impl Iterator<Item = u8> {
    (0..ENTRIES as u8).filter(move |number| of >> number & 1 != 0)
}

/// The way down of these entries, in the safe order.
fn down(entries: u8, released: bool) -> Plan {
    let one = |e| [Step::Quiet(e), Step::Stop(e), Step::Detach(e), Step::Unroute(e), Step::Free(e)];
    let each = |e| one(e).into_iter().chain(released.then_some(Step::Release(e)));
    bits(entries).flat_map(each).collect()
}

/// What is noted of the VM when work of this kind begins.
#[must_use]
pub fn note(vm: &Vm, kind: Kind, entry: u8) -> u8 {
    let line = &vm.entries[usize::from(entry)].line;
    let mapped = vm.entries_where(|entry| entry.line.slot.is_some());
    match kind {
        Kind::Map | Kind::Retarget | Kind::Unmap | Kind::TrapUnmask | Kind::TrapMask | Kind::TrapMove => {
            let queued = line.gsi.is_some_and(|gsi| vm.gsis[usize::from(gsi)].may_be_queued);
            let parked = line.target.is_none();
            [(queued, QUEUED), (line.started.is_some(), STARTED), (parked, PARKED)]
                .into_iter()
                .fold(0, |bits, (is, bit)| if is { bits | bit } else { bits })
        }
        // What has a line goes down, and what is in use is held: the same bits, since what is held alone stays held.
        Kind::Attach => vm.entries_where(|entry| entry.line.started.is_some()),
        Kind::Detach => mapped << ENTRIES | mapped,
        Kind::CutOff | Kind::Stale => mapped,
        Kind::Save => {
            (0..ENTRIES as u8).filter(|entry| vm.irqfd_of(*entry).is_some()).fold(0, |bits, e| bits | 1 << e)
        }
        Kind::Reset => 0,
    }
}
