//! MAP: route, then irqfd, then the device's interrupt, and only then the pair.

use super::devices::{DevicePlace, Devices};
use super::record::{BatchMode, InputFields, abort_others, clear_answer, fill_answer};
use super::vm::{Vm, report_failure};
use crate::device::{Device, Origin};
use crate::irte::Irte;
use crate::line::{Line, LineOwner, Lines, Request, Step, is_used_up};
use crate::log_limit::LogLimit;
use crate::work::Cost;
use pvir_abi::{EntryRecord, EntryState, Handle, Pair, Status};
use std::io;

pub(super) fn map(vm: &mut Vm, records: &mut [EntryRecord], mode: BatchMode) {
    vm.sweep();
    vm.irtes.reserve(records.len());
    let (mut new, mut existing) = (Vec::with_capacity(records.len()), Vec::new());
    for (place, record) in records.iter_mut().enumerate() {
        clear_answer(record, InputFields::Routing);
        record.status = match vm.plan(record, place, &mut new) {
            Ok(Planned::New) => Status::OK,
            Ok(Planned::Existing(handle)) => {
                existing.push((place, handle));
                Status::OK
            }
            Err(status) => status,
        };
    }
    if !abort_others(records, mode) {
        vm.make(&mut new);
        for NewIrte { handle, place, outcome, .. } in &new {
            if let Err(status) = *outcome {
                let same = existing.iter().filter(|(_, of)| of == handle).map(|(place, _)| *place);
                same.chain([*place]).for_each(|place| records[place].status = status);
            }
        }
    }
    let aborted = abort_others(records, mode);
    vm.keep(new, records, aborted);
    for (place, handle) in existing {
        let record = &mut records[place];
        match vm.irtes.get(handle) {
            Some(irte) if record.status == Status::OK => {
                fill_answer(record, handle, irte, EntryState::EXISTING);
            }
            _ => {}
        }
    }
}

/// What a valid record asks for.
enum Planned {
    /// An IRTE that is to be made.
    New,
    /// One that an earlier call has made, or that an earlier record asks for.
    Existing(Handle),
}

/// An IRTE that this call makes.
struct NewIrte {
    /// Index of its record in the call.
    place: usize,
    handle: Handle,
    irte: Irte,
    device: DevicePlace,
    /// Whether the host has left the entry masked, or the status that the guest gets.
    outcome: Result<bool, Status>,
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
    fn fail(&mut self, devices: &Devices, log: &LogLimit, status: Status, what: &str, error: &io::Error) {
        let attached = devices.at(self.device);
        self.outcome = Err(report_failure(log, attached, what, &self.irte.origin, status, error));
    }
}

impl Vm {
    /// Validates a record and reserves what it needs of ours: handle, GSI, eventfd. The kernel is not asked yet.
    #[inline]
    fn plan(
        &mut self,
        record: &EntryRecord,
        place: usize,
        new: &mut Vec<NewIrte>,
    ) -> Result<Planned, Status> {
        let valid = self.validate(record, InputFields::Routing)?;
        let (origin, device) = (valid.origin, valid.device);
        let attached = self.devices.at(device);
        let backing = attached.device.backing(origin.store, origin.index);
        if let Some(handle) = attached.mapped.get(backing) {
            let of_this_call = || new.iter().find(|new| new.handle == handle).map(|new| &new.irte);
            let irte = self.irtes.get(handle).or_else(of_this_call).ok_or(Status::HOST_ERROR)?;
            return match irte.origin == origin {
                true if (irte.count(), irte.target) == (valid.count, valid.target) => {
                    Ok(Planned::Existing(handle))
                }
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
        // What is held goes into lines of which KVM has nothing yet: attached, they deliver it.
        let owed = self.owed.is_owed(&origin);
        let mut lines = self.reserve(&origin, valid.count, valid.target.is_some() && !owed)?;
        if owed {
            self.owed.fill(&origin, &mut lines);
        }
        let handle = self.irtes.reserve_handle();
        self.held += valid.count;
        let attached = self.devices.at_mut(device);
        attached.mapped.set(backing, handle);
        attached.held += valid.count;
        new.push(NewIrte {
            place,
            handle,
            irte: Irte { origin, lines, target: valid.target, pair: Pair::default() },
            device,
            outcome: Ok(false),
        });
        Ok(Planned::New)
    }

    /// A GSI and an eventfd for each message, or nothing. A parked entry has no irqfd, so it takes none that is armed.
    #[inline]
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
        let routed = self.route_all(new);
        let Self { lines, devices, log, .. } = self;
        let mut good = Vec::with_capacity(new.len());
        // The error of an irqfd that cannot be had: no other is asked for then.
        let mut used_up = None;
        for new in new.iter_mut() {
            let attached = match (&routed, &used_up) {
                (Err(error), _) if new.irte.target.is_some() => Err((Step::Route, same(error))),
                (_, Some(error)) if lines.await_irqfd(&new.irte.lines) => Err((Step::Attach, same(error))),
                _ => lines.attach_all(&mut new.irte.lines).map_err(|error| (Step::Attach, error)),
            };
            match attached {
                Ok(()) => good.push(new),
                Err((step, error)) => {
                    new.fail(devices, log, step.status(&error), step.name(), &error);
                    used_up = used_up.or(Some(error).filter(is_used_up));
                }
            }
        }
        let mut unstarted = Vec::new();
        lines.start(devices, good, |new, request, error| {
            if request == Request::Alone {
                unstarted.push((new.place, error));
            }
        });
        for (place, error) in unstarted {
            let Ok(at) = new.binary_search_by_key(&place, |new| new.place) else { continue };
            new[at].fail(devices, log, Step::Start.status(&error), Step::Start.name(), &error);
        }
        for new in new.iter_mut().filter(|new| new.outcome.is_ok()) {
            lines.work().add(Cost::PAIR);
            match read_pair(&mut *devices.at_mut(new.device).device, &mut new.irte) {
                Ok(masked) => new.outcome = Ok(masked),
                Err((status, what, error)) => new.fail(devices, log, status, what, &error),
            }
        }
    }

    fn route_all(&mut self, new: &mut [NewIrte]) -> io::Result<()> {
        self.lines.reserve(new.len());
        for NewIrte { irte, .. } in new {
            let Some(target) = irte.target else { continue };
            match &mut irte.lines {
                Lines::One(line) => self.lines.stage(line, Some(target.message(0))),
                Lines::Several(lines) => (0..)
                    .zip(lines)
                    .for_each(|(number, line)| self.lines.stage(line, Some(target.message(number)))),
            }
        }
        self.lines.apply()
    }

    /// Keeps those that were made, answers their records, and gives the others back; all of them, if the call is
    /// `aborted`.
    fn keep(&mut self, new: Vec<NewIrte>, records: &mut [EntryRecord], aborted: bool) {
        let mut leaving = Vec::new();
        for NewIrte { place, handle, irte, outcome, .. } in new {
            match outcome {
                Ok(masked) if !aborted => {
                    let mut state = EntryState::empty();
                    state.set(EntryState::MASKED, masked);
                    fill_answer(&mut records[place], handle, &irte, state);
                    self.owed.settle(&irte.origin);
                    self.irtes.put(handle, irte);
                }
                _ => {
                    self.irtes.give_back(handle);
                    self.let_go(irte, &mut leaving);
                }
            }
        }
        if !leaving.is_empty() {
            self.take_down(leaving);
        }
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
#[inline]
fn read_pair(device: &mut dyn Device, irte: &mut Irte) -> Result<bool, (Status, &'static str, io::Error)> {
    let origin = irte.origin;
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
