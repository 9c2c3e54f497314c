//! FEATURES: what the host offers, compared with what CPUID says.

use crate::ContractViolation;
use crate::call::AnswerPosition;
use crate::record::BatchRecord;
use pvir_abi::{Conduits, Discovery, Features, FeaturesRecord};

/// What the host offers to this VM, as FEATURES answered when the session was negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HostLimits {
    /// The features that the host offers. Bits that this driver does not know are kept.
    pub features: Features,
    /// The features that were enabled then. They are not empty if pvir was enabled before and not disabled, for
    /// instance by the firmware.
    pub enabled: Features,
    /// The highest APIC id that a destination may have.
    pub max_apic_id: u32,
    /// Maximum number of IRTEs that may be held for the VM.
    pub max_irtes: u32,
    /// Number of IRTEs that were held for the VM then.
    pub irtes: u32,
    /// Number of devices whose entries the VM may map.
    pub devices: u32,
}

impl BatchRecord for FeaturesRecord {
    fn check_failed(&self, record: usize, answer: &Self) -> Result<(), ContractViolation> {
        let expected = Self { status: answer.status, ..*self };
        if *answer == expected {
            Ok(())
        } else {
            Err(ContractViolation::NotZero { record, field: "features" })
        }
    }
}

/// What the answer to FEATURES says, which is what was discovered.
pub(crate) fn limits(
    host: &Discovery,
    AnswerPosition { record, epoch, .. }: AnswerPosition,
    answer: &FeaturesRecord,
) -> Result<HostLimits, ContractViolation> {
    if (answer.reserved0, answer.reserved1, answer.reserved2) != (0, 0, 0) {
        return Err(ContractViolation::RecordChanged { record, field: "reserved" });
    }
    let same = [
        ("oldest", answer.oldest == host.oldest),
        ("newest", answer.newest == host.newest),
        ("max_records", answer.max_records == host.max_records),
        ("features", answer.features == host.features.bits()),
    ];
    if let Some((field, _)) = same.into_iter().find(|(_, same)| !same) {
        return Err(ContractViolation::NotAsDiscovered { field });
    }
    if answer.conduits != host.conduits.bits() {
        let said = Conduits::from_bits_retain(answer.conduits);
        return Err(ContractViolation::Conduits { discovered: host.conduits, said });
    }
    let limits = HostLimits {
        features: Features::from_bits_retain(answer.features),
        enabled: Features::from_bits_retain(answer.enabled),
        max_apic_id: answer.max_apic_id,
        max_irtes: answer.max_irtes,
        irtes: answer.irtes,
        devices: answer.devices,
    };
    if !limits.features.contains(limits.enabled) || answer.irtes > answer.max_irtes {
        return Err(ContractViolation::NotAsDiscovered { field: "enabled or irtes" });
    }
    if !limits.enabled.is_empty() && epoch == 0 {
        return Err(ContractViolation::Epoch { before: 0, said: 0 });
    }
    Ok(limits)
}
