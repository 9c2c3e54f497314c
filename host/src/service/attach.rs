//! ATTACH and DETACH: one device, while the others go on (docs/abi.md, A1 to A8).
//!
//! What a device raises while its interrupts are stopped here and not yet started there is nobody's: neither an eventfd
//! nor, for certain, the device has it. So an interrupt is held for each message that was in use, whatever came of it.

use super::counted::Counted;
use super::is_zero;
use super::session::{close, hand_over};
use super::vm::{Attached, Vm};
use crate::work::Cost;
use pvir_abi::{AttachRecord, DeviceId, Refusal, Status};

/// The device of a record, if there is one.
fn judge<'a>(vm: &'a Vm, record: &mut AttachRecord) -> Result<&'a Attached, Status> {
    record.refusal = Refusal::NONE;
    if !is_zero(&record.reserved0) || !is_zero(&record.reserved1) {
        return Err(Status::RESERVED_NOT_ZERO);
    }
    vm.named(record.device)
}

/// Hands a device to the guest.
pub(super) fn attach(vm: &mut Vm, record: &mut AttachRecord) -> Result<(), Status> {
    let id = record.device;
    let attached = judge(vm, record)?;
    if attached.cut_off {
        return Err(Status::DEVICE_CUT_OFF);
    }
    if !attached.is_served(vm.enabled()) {
        return Err(Status::STORE_UNSUPPORTED);
    }
    if attached.open {
        return Err(Status::ALREADY_ATTACHED);
    }
    vm.lines.work().add(Cost::ISOLATION);
    if let Err(reason) = attached.device.isolated() {
        vm.log.warn(|| format!("ATTACH of {id} ({}) refused: {reason}", attached.device.name()));
        record.refusal = reason.refusal;
        return Err(Status::REFUSED);
    }
    let in_use = vm.trapped_in_use(id);
    if let Err(error) = hand_over(vm, id) {
        // It acts again, and what was raised meanwhile is not lost either.
        vm.hold_trapped(id, &in_use);
        let name = vm.devices.get(&id).map_or_else(String::new, |attached| attached.device.name());
        vm.log.warn(|| format!("ATTACH of {id} ({name}) failed: {error}"));
        return Err(Status::HOST_ERROR);
    }
    vm.owed.hold(id, &in_use);
    vm.forget_trapped(id);
    vm.log.info(|| format!("device {id} is attached"));
    Ok(())
}

/// Takes a device back, with everything that is mapped of it.
pub(super) fn detach(
    vm: &mut Vm,
    record: &mut AttachRecord,
    counted: Option<&Counted>,
) -> Result<(), Status> {
    let id = record.device;
    if !judge(vm, record)?.open {
        return Err(Status::NOT_ATTACHED);
    }
    let mut in_use = vm.owed.take(id);
    let mapped = vm.irtes.iter().map(|(_, irte)| irte).filter(|irte| irte.origin.device == id);
    in_use.extend(mapped.flat_map(|irte| {
        let origin = irte.origin;
        (origin.index..).take(irte.count() as usize).map(move |message| (origin.store, message))
    }));
    vm.give_back(id, counted);
    vm.retrap(id);
    vm.hold_trapped(id, &in_use);
    vm.log.info(|| format!("device {id} is detached"));
    Ok(())
}

impl Vm {
    /// Gives back every IRTE of a device, and takes its store from the guest.
    fn give_back(&mut self, id: DeviceId, counted: Option<&Counted>) {
        self.release_of(Some(id), counted);
        close(self, id);
        // A closed device raises nothing, and one that would not close is lost: nothing is left to be stopped.
        self.lines.has_ended(|origin| origin.device == id);
        self.sweep();
    }
}
