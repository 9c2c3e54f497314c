//! MAP: route, then irqfd, then the device's interrupt, and only then the pair.

use super::entry::{Takes, abort_others, clear_answer, fill_answer};
use super::release::{Extent, runs};
use super::vm::Vm;
use crate::irte::{Held, Irte, Lines, Origin};
use pvir_abi::{EntryRecord, EntryState, Handle, Pair, Status};
use std::collections::BTreeMap;
use std::{io, slice};
use vmm_sys_util::eventfd::EventFd;

/// The IRTEs of this call that failed, and how.
type Failures = BTreeMap<Handle, Status>;

pub(super) fn map(vm: &mut Vm, records: &mut [EntryRecord], whole: bool) {
    vm.sweep();
    vm.irtes.reserve(records.len());
    let mut plans = Vec::with_capacity(records.len());
    for record in records.iter_mut() {
        clear_answer(record, Takes::Routing);
        let planned = vm.plan(record);
        record.status = planned.err().unwrap_or(Status::OK);
        plans.push(planned.ok());
    }
    let mut failures = Failures::new();
    if !abort_others(records, whole) {
        vm.make(&mut plans, &mut failures);
        for (record, planned) in records.iter_mut().zip(&plans).filter(|_| !failures.is_empty()) {
            if let Some(status) = planned.and_then(|planned| failures.get(&planned.handle)) {
                record.status = *status;
            }
        }
    }
    if abort_others(records, whole) {
        vm.release(&fresh(&plans).collect::<Vec<_>>());
    } else if !failures.is_empty() {
        let failed: Vec<_> = failures.into_keys().collect();
        vm.release(&failed);
    }
    for (record, planned) in records.iter_mut().zip(plans) {
        let Some(Planned { handle, existing, masked }) = planned.filter(|_| record.status == Status::OK)
        else {
            continue;
        };
        let mut state = EntryState::empty();
        state.set(EntryState::EXISTING, existing);
        state.set(EntryState::MASKED, masked);
        match vm.irtes.get(handle) {
            Some(irte) => fill_answer(record, handle, irte, state),
            None => record.status = Status::HOST_ERROR,
        }
    }
}

/// What a valid record asks for.
#[derive(Clone, Copy)]
struct Planned {
    handle: Handle,
    /// It was made before, by an earlier call or an earlier record.
    existing: bool,
    /// The host has left it masked.
    masked: bool,
}

/// The IRTEs that this call makes.
fn fresh(plans: &[Option<Planned>]) -> impl Iterator<Item = Handle> {
    plans.iter().flatten().filter(|planned| !planned.existing).map(|planned| planned.handle)
}

impl Vm {
    /// Validates a record and reserves what it needs of ours: handle, GSI, eventfd. The kernel is not asked yet.
    fn plan(&mut self, record: &EntryRecord) -> Result<Planned, Status> {
        let judged = self.judge(record, Takes::Routing)?;
        let origin = judged.origin;
        let attached = self.devices.at(judged.device);
        let backing = attached.device.backing(origin.store, origin.index);
        if let Some(handle) = attached.mapped.get(backing) {
            let irte = self.irtes.get(handle).ok_or(Status::HOST_ERROR)?;
            return match irte.origin == origin {
                true if (irte.count(), irte.target) == (judged.count, judged.target) => {
                    Ok(Planned { handle, existing: true, masked: false })
                }
                true => Err(Status::ALREADY_MAPPED),
                false => Err(Status::BACKING_IN_USE),
            };
        }
        if self.may_be_alive(&origin) {
            // It would be started a second time.
            return Err(Status::DEVICE_ERROR);
        }
        let fits = |held: u32, most: u32| judged.count <= most.saturating_sub(held);
        if !fits(attached.held, self.max_irtes_per_device) || !fits(self.held, self.max_irtes) {
            return Err(Status::NO_QUOTA);
        }
        let lines = self.reserve(&origin, judged.count, judged.target.is_some())?;
        let (pair, held) = (Pair::default(), Held::default());
        let handle = self.irtes.insert(Irte { origin, lines, target: judged.target, pair, held });
        self.held += judged.count;
        let attached = self.devices.at_mut(judged.device);
        attached.mapped.set(backing, handle);
        attached.held += judged.count;
        Ok(Planned { handle, existing: false, masked: false })
    }

    /// A GSI and an eventfd for each message, or nothing. A parked entry has no irqfd, so it takes none that is armed.
    fn reserve(&mut self, origin: &Origin, count: u32, routed: bool) -> Result<Lines, Status> {
        let mut lines = Lines::new();
        while lines.len() < count as usize {
            let status = match self.take_line(routed) {
                Ok(Some(line)) => {
                    lines.push(line);
                    continue;
                }
                Ok(None) => Status::NO_GSI,
                Err(error) => self.failed("making an eventfd", origin, Status::HOST_ERROR, &error),
            };
            self.put_back(lines);
            return Err(status);
        }
        Ok(lines)
    }

    /// Makes the planned IRTEs real, in the safe order.
    fn make(&mut self, plans: &mut [Option<Planned>], failures: &mut Failures) {
        self.route_all(plans, failures);
        self.attach_all(plans, failures);
        self.start_all(plans, failures);
        for planned in plans.iter_mut().flatten().filter(|planned| !planned.existing) {
            if failures.contains_key(&planned.handle) {
                continue;
            }
            match self.read_pair(planned.handle) {
                Ok(masked) => planned.masked = masked,
                Err(status) => {
                    failures.insert(planned.handle, status);
                }
            }
        }
    }

    /// One `KVM_SET_GSI_ROUTING` for all of them.
    fn route_all(&mut self, plans: &[Option<Planned>], failures: &mut Failures) {
        for handle in fresh(plans) {
            let Some(irte) = self.irtes.get_mut(handle).filter(|irte| irte.target.is_some()) else {
                continue;
            };
            irte.held.route = true;
            self.routes.change_all(irte.routes_to(irte.target));
        }
        let Err(error) = self.routes.apply() else { return };
        for handle in fresh(plans) {
            let Some(irte) = self.irtes.get_mut(handle).filter(|irte| irte.held.route) else { continue };
            irte.held.route = false;
            let origin = irte.origin;
            failures.insert(handle, self.failed("routing", &origin, Status::HOST_ERROR, &error));
        }
    }

    /// One `KVM_IRQFD` for each that was not armed ahead: KVM has no batch form.
    fn attach_all(&mut self, plans: &[Option<Planned>], failures: &mut Failures) {
        for handle in fresh(plans) {
            let Some(irte) = self.irtes.get_mut(handle).filter(|irte| irte.awaits_irqfd()) else { continue };
            if let Err(error) = irte.attach(self.routes.router()) {
                let origin = irte.origin;
                let status = self.failed("attaching the irqfd", &origin, Status::HOST_ERROR, &error);
                failures.insert(handle, status);
            }
        }
    }

    /// One `VFIO_DEVICE_SET_IRQS` for each run of consecutive entries, and for the messages of an MSI.
    fn start_all(&mut self, plans: &[Option<Planned>], failures: &mut Failures) {
        let mut good = Vec::with_capacity(plans.len());
        fresh(plans)
            .filter(|handle| !failures.contains_key(handle))
            .filter_map(|handle| Some(self.irtes.get(handle)?.extent(handle)))
            .for_each(|extent| good.push(extent));
        for run in runs(&mut good) {
            let Err(of_run) = self.start(run) else { continue };
            let mut of_run = Some(of_run).filter(|_| run.len() == 1);
            // BatchMode as many as there are: the host may have vectors for some of the run.
            for extent in run {
                let started = of_run.take().map_or_else(|| self.start(slice::from_ref(extent)), Err);
                if let Err(error) = started {
                    let status = match error.raw_os_error() {
                        Some(libc::ENOSPC) => Status::NO_HOST_VECTOR,
                        _ => Status::DEVICE_ERROR,
                    };
                    let status = self.failed("starting the interrupt", &extent.origin, status, &error);
                    failures.insert(extent.of, status);
                }
            }
        }
    }

    fn start(&mut self, run: &[Extent<Handle>]) -> io::Result<()> {
        let Self { irtes, devices, .. } = self;
        let Some(Extent { origin: first, .. }) = run.first() else { return Ok(()) };
        let mut eventfds: Vec<&EventFd> = Vec::with_capacity(run.len());
        for irte in run.iter().filter_map(|extent| irtes.get(extent.of)) {
            irte.lines.iter().for_each(|line| eventfds.push(&line.eventfd));
        }
        let attached = devices.get_mut(&first.device).ok_or(io::ErrorKind::NotFound)?;
        attached.device.start(first.store, first.index, &eventfds)?;
        for extent in run {
            if let Some(irte) = irtes.get_mut(extent.of) {
                irte.held.interrupt = true;
            }
        }
        Ok(())
    }

    /// Reads the pair and puts the entry's mask where the guest expects it. Answers whether it is masked.
    fn read_pair(&mut self, handle: Handle) -> Result<bool, Status> {
        let Self { irtes, devices, .. } = self;
        let irte = irtes.get_mut(handle).ok_or(Status::HOST_ERROR)?;
        let origin = irte.origin;
        let device = &mut devices.get_mut(&origin.device).ok_or(Status::HOST_ERROR)?.device;
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
            (Err(error), _) => Err(self.failed("masking the entry", &origin, Status::DEVICE_ERROR, &error)),
            (_, Err(error)) => {
                let status = match error.kind() {
                    io::ErrorKind::InvalidData => Status::BAD_PAIR,
                    _ => Status::DEVICE_ERROR,
                };
                Err(self.failed("reading the pair", &origin, status, &error))
            }
        }
    }
}
