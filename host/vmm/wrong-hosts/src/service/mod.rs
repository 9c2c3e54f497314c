//! The hypercall service, with an interposer between it and the guest.
//!
//! The service itself is honest and does not notice. [`Interposer`] copies the guest's block in, hands the service a block
//! of its own, in memory that the guest does not have ([`ServiceMemory`]), and copies out what came of it. A [`Change`] says
//! what is changed on the way: the request ([`requests`]), the answer ([`answers`]), or both, with calls to the service
//! that the guest has not made, or without one that it has ([`handles`], [`sessions`], [`entries`]).

mod answers;
mod attaching;
mod block;
mod coming;
mod conduits;
mod entries;
mod fewer;
mod handles;
mod memory;
mod rate;
mod refusing;
mod requests;
mod routings;
mod sessions;
#[cfg(test)]
mod tests;

pub(crate) use memory::ServiceMemory;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pvir::Hypercalls;
use pvir_abi::{BLOCK_ALIGN, Discovery, GuestPhysAddr, Status};

use crate::list::Wrong;
use crate::variant::Variant;
use block::Block;

/// What an interposer changes. By themselves these functions change nothing.
trait Change: Send + Sync {
    /// Serves a request, with the help of the honest service. The answer has the form of the request: its operation, and
    /// as many records.
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        service.call(request)
    }

    /// Whether a block may lie here.
    fn takes_block_at(&self, at: GuestPhysAddr) -> bool {
        at.0 % BLOCK_ALIGN == 0
    }

    /// Whether an access to the port that is so many bytes wide is a call.
    fn takes_port_access(&self, bytes: u8) -> bool {
        bytes == 4
    }

    /// Whether code in ring 3 may call.
    fn takes_ring3(&self) -> bool {
        false
    }

    /// What CPUID says of the service.
    fn discovery(&self, discovery: Discovery) -> Discovery {
        discovery
    }

    /// Whether this answer is written into the guest's block.
    fn writes(&self, _: &Block) -> bool {
        true
    }

    /// The vCPU whose last call is asked for when this one asks for its own; `None`: whichever was last.
    fn asks_of(&self, vcpu: usize) -> Option<usize> {
        Some(vcpu)
    }

    /// The status that the conduit carries.
    fn conduit_status(&self, status: Status) -> Status {
        status
    }
}

/// Changes nothing.
struct Nothing;

impl Change for Nothing {}

/// The change that a host makes here, which is none if it is wrong elsewhere.
fn change(variant: Variant) -> Box<dyn Change> {
    use Wrong::*;
    let wrong = match variant {
        Variant::Honest => return Box::new(Nothing),
        Variant::FewRecords(max) => return Box::new(fewer::FewerRecords(max)),
        Variant::Refusing => return Box::new(refusing::Refusing),
        Variant::Wrong(wrong) => wrong,
    };
    match wrong {
        StatusDiffers => Box::new(answers::ConduitSaysOk),
        StatusOfAnother | HeaderUnwritten => Box::new(conduits::Elsewhere(wrong)),
        DeviceTooMany | ImsUnsaid | ImsMasked | VectorFirst | InFieldChanged | DoneOfFailed
        | DoneCountsFailed | PartialIsOk | FailedHasPair | RetargetNewPair | ExistingUnsaid
        | QueryForgets | EpochMissing | GoneIsUnknown | CutOffHasNoGsi => Box::new(answers::Answers(wrong)),
        StaleKnown => Box::<entries::StaleKnown>::default(),
        NarrowPort => Box::new(requests::NarrowPort),
        Ring3Taken => Box::new(requests::Ring3Taken),
        UnalignedBlock => Box::new(requests::AnywhereInPage),
        ReservedIgnored | AnyFeature | VectorFive | BroadcastTaken | HintBitsIgnored | OfferedRefused
        | EndsRefused | CountIgnored => Box::new(requests::Requests(wrong)),
        NotUndone => Box::new(entries::NotUndone),
        OneRetargetRefused => Box::<rate::OneRetargetRefused>::default(),
        PairLeftAlive => Box::<entries::PairLeftAlive>::default(),
        QueryChangesState => Box::new(entries::QueryChangesState),
        HandleAgain => Box::<handles::HandleAgain>::default(),
        GenerationIgnored => Box::<handles::GenerationIgnored>::default(),
        ParkingUntaken => Box::<routings::ParkingUntaken>::default(),
        LowestMember => Box::<routings::LowestMember>::default(),
        ResolvesAlike => Box::new(routings::ResolvesAlike),
        HandlesInTurn => Box::<handles::HandlesInTurn>::default(),
        AttachedUnasked => Box::new(attaching::AttachedUnasked),
        AttachLoses => Box::new(attaching::AttachLoses),
        DetachKeeps => Box::new(attaching::DetachKeeps),
        ComesAttached | ComingIsAnEvent | GoneOutlasts => Box::new(coming::Coming::new(wrong)),
        EnabledTwice => Box::new(sessions::EnabledTwice),
        EpochNotRaised => Box::new(sessions::EpochNotRaised),
        DisableKeeps => Box::<sessions::DisableKeeps>::default(),
        MsrFaults | HypercallNotTaken => Box::new(conduits::FalseConduits(wrong)),
        AreaStuck | AreaLate | NotifyLost | NotifyFirstOnly | CpuidDiffers | MsrOfTheCpu | BlockOverrun
        | HeaderReadTwice | AreaNotWritten | LostInMap | PairAgain | LostInRetarget | ParkedLost
        | MaskLeftUnset | PairOfAnotherEntry | OnePairForAll | ForeignPair | AbsentPair | EnableIgnored
        | FunctionMaskIgnored | TrappedMaskIgnored | MsiLeftEnabled | TableKept | PairOfReset
        | UnmaskedByReset => Box::new(Nothing),
    }
}

/// The honest service, for one call of a vCPU.
struct HonestService<'a> {
    interposer: &'a Interposer,
    vcpu: usize,
}

impl HonestService<'_> {
    /// What the service does with a request.
    fn call(&self, request: &Block) -> Block {
        let Interposer { memory, service, .. } = self.interposer;
        let at = memory.lay_out(self.vcpu, request.to_bytes());
        let status = service.call(self.vcpu, 0, at);
        let answer = memory.take_away(at).as_deref().and_then(Block::from_bytes);
        answer.unwrap_or_else(|| request.with_status(status))
    }

    /// What the service does with a request that is changed first. The guest does not see that: *in* fields of the answer
    /// are those that it has sent.
    fn call_changed(&self, sent: &Block, change: impl FnOnce(&mut Block)) -> Block {
        let mut changed = sent.clone();
        change(&mut changed);
        let mut answer = self.call(&changed);
        answer.restore(sent);
        answer
    }

    fn discovery(&self) -> Discovery {
        self.interposer.service.discovery()
    }

    /// The memory of the guest.
    fn guest_ram(&self) -> &dyn pvir_host::memory::GuestRam {
        self.interposer.memory.guest_ram()
    }
}

/// What the guest calls in place of the service, which it calls in turn.
pub(crate) struct Interposer {
    service: Arc<dyn Hypercalls>,
    memory: Arc<ServiceMemory>,
    change: Box<dyn Change>,
    /// By vCPU: what its last call was answered; under `None` that of whichever was last.
    last: Mutex<BTreeMap<Option<usize>, Status>>,
}

impl Interposer {
    pub(crate) fn new(service: Arc<dyn Hypercalls>, memory: Arc<ServiceMemory>, variant: Variant) -> Self {
        Self { service, memory, change: change(variant), last: Mutex::default() }
    }

    /// Serves a block that can be read; `None` leaves it to the service to refuse it.
    fn serve(&self, vcpu: usize, at: GuestPhysAddr) -> Option<Status> {
        if !self.change.takes_block_at(at) {
            return None;
        }
        let ram = self.memory.guest_ram();
        let request = Block::copy_in(ram, at)?;
        let answer = self.change.serve(&request, &HonestService { interposer: self, vcpu });
        if self.change.writes(&answer) {
            answer.copy_out(ram, at, &request).ok()?;
        }
        Some(answer.header.status)
    }
}

impl Hypercalls for Interposer {
    fn discovery(&self) -> Discovery {
        self.change.discovery(self.service.discovery())
    }

    fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status {
        let taken = cpl == 0 || self.change.takes_ring3();
        let served = if taken { self.serve(vcpu, block) } else { None };
        let status = served.unwrap_or_else(|| self.service.call(vcpu, cpl, block));
        let status = self.change.conduit_status(status);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(Some(vcpu), status);
        last.insert(None, status);
        status
    }

    fn last_status(&self, vcpu: usize) -> Status {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&self.change.asks_of(vcpu)).copied().unwrap_or_else(|| self.service.last_status(vcpu))
    }

    fn takes_port_access(&self, bytes: u8) -> bool {
        self.change.takes_port_access(bytes)
    }
}
