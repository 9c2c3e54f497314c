//! FEATURES: versions, features and limits.

use super::is_zero;
use super::vm::Vm;
use pvir_abi::{Discovery, FeaturesRecord, Status};

pub(super) fn answer(vm: &Vm, discovery: &Discovery, record: &mut FeaturesRecord) -> Result<(), Status> {
    if !is_zero(&(record.reserved0)) || !is_zero(&record.reserved1) || !is_zero(&record.reserved2) {
        *record = FeaturesRecord {
            reserved0: record.reserved0,
            reserved1: record.reserved1,
            reserved2: record.reserved2,
            ..FeaturesRecord::request()
        };
        return Err(Status::RESERVED_NOT_ZERO);
    }
    *record = FeaturesRecord {
        status: Status::OK,
        oldest: discovery.oldest,
        newest: discovery.newest,
        max_records: discovery.max_records,
        features: discovery.features.bits(),
        enabled: vm.enabled().bits(),
        max_apic_id: vm.policy.max_apic_id(),
        max_irtes: vm.max_irtes,
        irtes: vm.held,
        devices: u32::try_from(vm.devices.iter().filter(|(_, attached)| !attached.unseen).count())
            .unwrap_or(u32::MAX),
        conduits: discovery.conduits.bits(),
        ..FeaturesRecord::request()
    };
    Ok(())
}
