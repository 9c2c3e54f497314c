//! DEVICE_INFO: what a device can do.

use super::is_zero;
use super::vm::Vm;
use pvir_abi::{DeviceFlags, DeviceRecord, Status};

pub(super) fn answer(vm: &Vm, record: &mut DeviceRecord) -> Result<(), Status> {
    let asked = DeviceRecord {
        reserved0: record.reserved0,
        reserved1: record.reserved1,
        ..DeviceRecord::request(record.device)
    };
    *record = asked;
    if !is_zero(&record.reserved0) || !is_zero(&record.reserved1) {
        return Err(Status::RESERVED_NOT_ZERO);
    }
    let attached = vm.named(record.device)?;
    let capabilities = &attached.capabilities;
    record.stores = capabilities.stores.bits();
    let mut flags = capabilities.flags;
    flags.set(DeviceFlags::ATTACHED, vm.is_by_device() && attached.open);
    record.flags = flags.bits();
    record.msix_entries = capabilities.msix_entries;
    record.msi_messages = capabilities.msi_messages;
    record.ims_entries = capabilities.ims_entries;
    record.max_irtes = vm.max_irtes_per_device.min(vm.max_irtes);
    record.irtes = attached.held;
    Ok(())
}
