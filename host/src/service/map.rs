//! MAP: route, then irqfd, then the device's interrupt, and only then the pair.

use super::devices::DevicePlace;
use super::record::{BatchMode, InputFields, abort_others, clear_answer, fill_answer};
use super::vm::{Attached, Vm, report_failure};
use crate::device::Origin;
use crate::irte::Irte;
use crate::line::{Line, LineOwner, LineTable, Lines, Request, Step};
use pvir_abi::{EntryRecord, EntryState, Handle, Pair, Status};
use std::io;

pub(super) fn map(vm: &mut Vm, records: &mut [EntryRecord], mode: BatchMode) {
    vm.sweep();
    vm.irtes.reserve(records.len());
    let (mut plans, mut new) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
    for record in records.iter_mut() {
        clear_answer(record, InputFields::Routing);
        let planned = vm.plan(record, &mut new);
        record.status = planned.err().unwrap_or(Status::OK);
        plans.push(planned.ok());
    }
    if !abort_others(records, mode) {
        vm.make(&mut new);
        for (record, planned) in records.iter_mut().zip(&plans) {
            if let Some(Planned::New(place) | Planned::Same(place)) = planned {
                record.status = new[*place].outcome.err().unwrap_or(Status::OK);
            }
        }
    }
    let aborted = abort_others(records, mode);
    for (record, planned) in records.iter_mut().zip(plans).filter(|(record, _)| record.status == Status::OK) {
        match planned {
            Some(Planned::New(place)) => new[place].answer(record, false),
            Some(Planned::Same(place)) => new[place].answer(record, true),
            Some(Planned::Existing(handle)) => match vm.irtes.get(handle) {
                Some(irte) => fill_answer(record, handle, irte, EntryState::EXISTING),
                None => record.status = Status::HOST_ERROR,
            },
            None => {}
        }
    }
    vm.keep(new, aborted);
}

/// What a valid record asks for.
#[derive(Clone, Copy)]
enum Planned {
    /// An IRTE that is to be made: its place among those.
    New(usize),
    /// The one that an earlier record of the call asks for.
    Same(usize),
    /// One that an earlier call has made.
    Existing(Handle),
}

/// An IRTE that this call makes.
struct NewIrte {
    handle: Handle,
    irte: Irte,
    device: DevicePlace,
    /// Whether the host has left the entry masked, or what the guest is told.
    outcome: Result<bool, Status>,
    failure: Option<(Step, io::Error)>,
}

impl LineOwner for NewIrte {
    fn origin(&self) -> Origin {
        self.irte.origin
    }

    fn lines(&self) -> &Lines {
        &self.irte.lines
    }

    fn lines_mut(&mut self) -> &mut Lines {
        &mut self.irte.lines
    }
}

impl NewIrte {
    fn answer(&self, record: &mut EntryRecord, existing: bool) {
        let mut state = EntryState::empty();
        state.set(EntryState::EXISTING, existing);
        state.set(EntryState::MASKED, !existing && self.outcome == Ok(true));
        fill_answer(record, self.handle, &self.irte, state);
    }
}

impl Vm {
    /// Validates a record and reserves what it needs of ours: handle, GSI, eventfd. The kernel is not asked yet.
    fn plan(&mut self, record: &EntryRecord, new: &mut Vec<NewIrte>) -> Result<Planned, Status> {
        let valid = self.validate(record, InputFields::Routing)?;
        let (origin, device) = (valid.origin, valid.device);
        let attached = self.devices.at(device);
        let backing = attached.device.backing(origin.store, origin.index);
        if let Some(handle) = attached.mapped.get(backing) {
            let (irte, planned) = match self.irtes.get(handle) {
                Some(irte) => (irte, Planned::Existing(handle)),
                None => {
                    let place = new.iter().position(|new| new.handle == handle).ok_or(Status::HOST_ERROR)?;
                    (&new[place].irte, Planned::Same(place))
                }
            };
            return match irte.origin == origin {
                true if (irte.count(), irte.target) == (valid.count, valid.target) => Ok(planned),
                true => Err(Status::ALREADY_MAPPED),
                false => Err(Status::BACKING_IN_USE),
            };
        }
        if self.may_be_started(&origin) {
            // It would be started a second time.
            return Err(Status::DEVICE_ERROR);
        }
        let fits = |held: u32, max: u32| valid.count <= max.saturating_sub(held);
        if !fits(attached.held, self.max_irtes_per_device) || !fits(self.held, self.max_irtes) {
            return Err(Status::NO_QUOTA);
        }
        let lines = self.reserve(&origin, valid.count, valid.target.is_some())?;
        let irte = Irte { origin, lines, target: valid.target, pair: Pair::default() };
        let handle = self.irtes.reserve_handle();
        self.held += valid.count;
        let attached = self.devices.at_mut(device);
        attached.mapped.set(backing, handle);
        attached.held += valid.count;
        new.push(NewIrte { handle, irte, device, outcome: Ok(false), failure: None });
        Ok(Planned::New(new.len() - 1))
    }

    /// A GSI and an eventfd for each message, or nothing. A parked entry has no irqfd, so it takes none that is armed.
    fn reserve(&mut self, origin: &Origin, count: u32, routed: bool) -> Result<Lines, Status> {
        if count == 1 {
            return Ok(Lines::One(self.take_line(origin, routed)?));
        }
        let mut lines = Vec::with_capacity(count as usize);
        for _ in 0..count {
            match self.take_line(origin, routed) {
                Ok(line) => lines.push(line),
                Err(status) => {
                    self.lines.put_back(Lines::Several(lines));
                    return Err(status);
                }
            }
        }
        Ok(Lines::Several(lines))
    }

    fn take_line(&mut self, origin: &Origin, routed: bool) -> Result<Line, Status> {
        match self.lines.take(routed) {
            Ok(line) => line.ok_or(Status::NO_GSI),
            Err(error) => Err(self.failed("making an eventfd", origin, Status::HOST_ERROR, &error)),
        }
    }

    /// Makes the planned IRTEs real, in the safe order: one `KVM_SET_GSI_ROUTING` for all of them; a `KVM_IRQFD` for
    /// each that was not armed ahead, because KVM has no batch form; one `VFIO_DEVICE_SET_IRQS` for each run of
    /// consecutive entries; then the pairs. Each has its outcome then.
    fn make(&mut self, new: &mut [NewIrte]) {
        let Self { lines, devices, log, .. } = self;
        route_all(lines, new);
        for NewIrte { irte, failure, .. } in new.iter_mut().filter(|new| new.failure.is_none()) {
            *failure = lines.attach_all(&mut irte.lines).err().map(|error| (Step::Attach, error));
        }
        let mut good = Vec::with_capacity(new.len());
        new.iter_mut().filter(|new| new.failure.is_none()).for_each(|new| good.push(new));
        lines.start(devices, good, |new, request, error| {
            if request == Request::Alone {
                new.failure = Some((Step::Start, error));
            }
        });
        for NewIrte { irte, device, outcome, failure, .. } in new {
            let attached = devices.at_mut(*device);
            let failed = match failure.take() {
                Some((step, error)) => (step.status(&error), step.name(), error),
                None => match read_pair(attached, irte) {
                    Ok(masked) => {
                        *outcome = Ok(masked);
                        continue;
                    }
                    Err(failed) => failed,
                },
            };
            let (status, what, error) = failed;
            *outcome = Err(report_failure(log, attached, what, &irte.origin, status, &error));
        }
    }

    /// Keeps those that were made, and gives the others back; all of them, if the call is `aborted`.
    fn keep(&mut self, new: Vec<NewIrte>, aborted: bool) {
        let mut leaving = Vec::new();
        for NewIrte { handle, irte, outcome, .. } in new {
            if outcome.is_ok() && !aborted {
                self.irtes.put(handle, irte);
            } else {
                self.irtes.give_back(handle);
                self.let_go(irte, &mut leaving);
            }
        }
        if !leaving.is_empty() {
            self.take_down(leaving);
        }
    }
}

fn route_all(lines: &mut LineTable, new: &mut [NewIrte]) {
    for NewIrte { irte, .. } in new.iter() {
        let Some(target) = irte.target else { continue };
        for (number, line) in (0..).zip(irte.lines.iter()) {
            lines.stage(line, Some(target.message(number)));
        }
    }
    let Err(error) = lines.apply() else { return };
    for new in new.iter_mut().filter(|new| new.irte.target.is_some()) {
        new.failure = Some((Step::Route, same(&error)));
    }
}

/// An error for each of those that it is about.
fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Reads the pair and puts the entry's mask where the guest expects it. Answers whether it is masked.
fn read_pair(attached: &mut Attached, irte: &mut Irte) -> Result<bool, (Status, &'static str, io::Error)> {
    let (device, origin) = (&mut attached.device, irte.origin);
    let masked = device.mask(origin.store, origin.index);
    let pair = device.pair(origin.store, origin.index);
    // A device that has n messages replaces the low bits of the data.
    let pair = pair.and_then(|pair| match pair.data % irte.count().max(1) {
        0 => Ok(pair),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{pair} is not aligned"))),
    });
    match (masked, pair) {
        (Ok(masked), Ok(pair)) => {
            irte.pair = pair;
            Ok(masked)
        }
        (Err(error), _) => Err((Status::DEVICE_ERROR, "masking the entry", error)),
        (_, Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err((Status::BAD_PAIR, "reading the pair", error))
        }
        (_, Err(error)) => Err((Status::DEVICE_ERROR, "reading the pair", error)),
    }
}
