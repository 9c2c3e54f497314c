//! QUERY: what the host holds for an entry.

use super::record::{InputFields, clear_answer, fill_answer};
use super::vm::Vm;
use pvir_abi::{Arch, EntryRecord, EntryState, Handle, Status};

pub(super) fn answer(vm: &Vm, record: &mut EntryRecord) -> Result<(), Status> {
    clear_answer(record, InputFields::Lookup);
    let valid = vm.validate(record, InputFields::Lookup)?;
    let handle = match record.handle {
        Handle::NONE => vm.devices.at(valid.device).holder(&valid.origin).ok_or(Status::STALE_HANDLE)?,
        given => given,
    };
    let irte = vm.irtes.get(handle).ok_or(Status::STALE_HANDLE)?;
    if (irte.origin, irte.count()) != (valid.origin, valid.count) {
        // The entry that shares its interrupt is mapped, or this one with another count: it is not.
        return Err(Status::STALE_HANDLE);
    }
    fill_answer(record, handle, irte, EntryState::empty());
    if let Some(target) = irte.target {
        record.arch = Arch::X86_APIC;
        record.routing = target.asked();
    }
    Ok(())
}
