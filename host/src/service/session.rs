//! ENABLE and DISABLE: for the whole VM.

use super::counted::Counted;
use super::is_zero;
use super::vm::{Attached, Session, Vm};
use crate::memory::GuestRam;
use crate::message::Message;
use crate::work::Cost;
use pvir_abi::{
    DeviceId, EVENT_AREA_ALIGN, EnableRecord, EntryRecord, EventArea, EventReason, Features, GuestPhysAddr,
    Refusal, Status, Store, X86Route,
};
use std::io;
use zerocopy::IntoBytes;

pub(super) fn enable(
    vm: &mut Vm,
    ram: &dyn GuestRam,
    offered: Features,
    record: &mut EnableRecord,
) -> Result<(), Status> {
    record.device = DeviceId::default();
    record.refusal = Refusal::NONE;
    let taken = validate(vm, ram, offered, record)?;
    isolate(vm, record)?;
    if !taken.features.contains(Features::ATTACH) {
        hand_all_over(vm, taken.features)?;
    }
    vm.epoch += 1;
    if let Some(at) = taken.event_area {
        let area = EventArea {
            epoch: vm.epoch,
            sequence: 0,
            reason: EventReason::NONE,
            device: DeviceId::default(),
            reserved: [0; 5],
        };
        if ram.write(at, area.as_bytes()).is_err() {
            // It was RAM a moment ago: the VMM took it away during the call.
            take_back(vm);
            return Err(Status::BAD_ADDRESS);
        }
    }
    let opened: Vec<DeviceId> = opened(vm);
    opened.into_iter().for_each(|id| vm.forget_trapped(id));
    vm.log.info(|| format!("the guest enabled pvir: {:?}, epoch {}", taken.features, vm.epoch));
    vm.session = Some(Session { first_epoch: vm.epoch, ..taken });
    Ok(())
}

/// Validates the record; answers with what the guest takes.
pub(super) fn validate(
    vm: &Vm,
    ram: &dyn GuestRam,
    offered: Features,
    record: &EnableRecord,
) -> Result<Session, Status> {
    if !is_zero(&record.reserved0) || !is_zero(&record.reserved1) {
        return Err(Status::RESERVED_NOT_ZERO);
    }
    if vm.session.is_some() {
        return Err(Status::ALREADY_ENABLED);
    }
    let features = Features::from_bits(record.features).filter(|asked| {
        let alone = asked.contains(Features::NOTIFY) && !asked.contains(Features::EPOCH);
        offered.contains(*asked) && !alone
    });
    let features = features.ok_or(Status::UNSUPPORTED_FEATURE)?;
    let notify = validate_notify(vm, features, record)?;
    let area = record.event_area;
    let session = Session { features, first_epoch: vm.epoch, event_area: None, notify, owes_notify: false };
    if area == GuestPhysAddr(0) {
        return Ok(session);
    }
    if !features.contains(Features::EPOCH) {
        return Err(Status::RESERVED_NOT_ZERO);
    }
    if area.0 % EVENT_AREA_ALIGN != 0 {
        return Err(Status::UNALIGNED);
    }
    if !ram.is_ram(area, size_of::<EventArea>()) {
        return Err(Status::BAD_ADDRESS);
    }
    Ok(Session { event_area: Some(area), ..session })
}

/// The message by which events are announced, judged as a MAP's routing would be (statement E2).
fn validate_notify(vm: &Vm, features: Features, record: &EnableRecord) -> Result<Option<Message>, Status> {
    if !features.contains(Features::NOTIFY) {
        let zero = record.notify_vector == 0 && record.notify_apic_id == 0;
        return if zero { Ok(None) } else { Err(Status::RESERVED_NOT_ZERO) };
    }
    let vector = u8::try_from(record.notify_vector).map_err(|_| Status::BAD_NOTIFY)?;
    let route = X86Route::fixed(record.notify_apic_id, vector).into();
    let asked = EntryRecord::map(DeviceId::default(), Store::MSIX, 0, route);
    let target = vm.policy.validate(&asked, features).map_err(|_| Status::BAD_NOTIFY)?;
    Ok(Some(target.message(0)))
}

/// Refuses unless the remapping unit protects every device. Validated again at each ENABLE: hosts change.
fn isolate(vm: &Vm, record: &mut EnableRecord) -> Result<(), Status> {
    for (id, attached) in vm.devices.iter() {
        vm.lines.work().add(Cost::ISOLATION);
        if let Err(reason) = attached.device.isolated() {
            vm.log.warn(|| format!("ENABLE refused because of {id} ({}): {reason}", attached.device.name()));
            record.device = *id;
            record.refusal = reason.refusal;
            return Err(Status::REFUSED);
        }
    }
    Ok(())
}

/// Hands the stores that the guest takes to it, or none.
fn hand_all_over(vm: &mut Vm, features: Features) -> Result<(), Status> {
    let served = |(id, attached): (&DeviceId, &Attached)| attached.is_served(features).then_some(*id);
    let taken: Vec<DeviceId> = vm.devices.iter().filter_map(served).collect();
    for id in taken {
        if let Err(error) = hand_over(vm, id) {
            let name = vm.devices.get(&id).map_or_else(String::new, |attached| attached.device.name());
            vm.log.warn(|| format!("ENABLE failed: opening {id} ({name}): {error}"));
            take_back(vm);
            return Err(Status::HOST_ERROR);
        }
    }
    Ok(())
}

/// Hands a device's store to the guest. What was trapped of it is stopped before.
///
/// # Errors
/// If that could not be stopped, or the device not be opened. The trapped store then acts as before.
pub(super) fn hand_over(vm: &mut Vm, id: DeviceId) -> io::Result<()> {
    let handed = vm.suspend_trapped(id).and_then(|()| {
        let Some(attached) = vm.devices.get_mut(&id) else { return Ok(()) };
        vm.lines.work().add(Cost::HAND_OVER);
        attached.device.open()?;
        attached.open = true;
        Ok(())
    });
    if handed.is_err() {
        vm.resume_trapped(id);
    }
    handed
}

fn opened(vm: &Vm) -> Vec<DeviceId> {
    vm.devices.iter().rev().filter(|(_, attached)| attached.open).map(|(id, _)| *id).collect()
}

/// Undoes [`hand_all_over`].
fn take_back(vm: &mut Vm) {
    for id in opened(vm) {
        close(vm, id);
        vm.resume_trapped(id);
    }
}

pub(super) fn close(vm: &mut Vm, id: DeviceId) {
    let Some(attached) = vm.devices.get_mut(&id).filter(|attached| attached.open) else { return };
    attached.open = false;
    vm.lines.work().add(Cost::HAND_OVER);
    if let Err(error) = attached.device.close() {
        let name = attached.device.name();
        vm.log.warn(|| format!("closing {id} ({name}) failed: {error}"));
    }
}

impl Vm {
    /// Takes the stores from the guest again that it was given a moment ago.
    pub(super) fn close_opened(&mut self) {
        opened(self).into_iter().for_each(|id| close(self, id));
    }

    /// DISABLE: the end of the session, and trapped stores act again.
    pub(super) fn disable(&mut self, counted: Option<&Counted>) {
        for id in self.end_session(counted) {
            self.retrap(id);
        }
    }

    /// Gives every IRTE back, takes the stores from the guest, and ends the session. Answers with the devices that were
    /// the guest's.
    pub(super) fn end_session(&mut self, counted: Option<&Counted>) -> Vec<DeviceId> {
        let handles: Vec<_> = self.irtes.iter().map(|(handle, _)| handle).collect();
        self.remember(&handles, counted);
        self.release(&handles);
        self.sweep();
        let closed = opened(self);
        for id in &closed {
            close(self, *id);
        }
        // A closed device raises nothing, and one that would not close is lost: nothing is left to be stopped.
        self.lines.has_ended(|_| true);
        self.sweep();
        let failed = self.lines.end_waiting();
        self.log_irqfds(&failed);
        self.session = None;
        self.gone.clear();
        self.devices.iter_mut().for_each(|attached| attached.unseen = false);
        self.owed.forget();
        self.log.info(|| format!("pvir is disabled, epoch {}", self.epoch));
        closed
    }
}
