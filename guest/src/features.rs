//! FEATURES: what the host offers, held against what CPUID says.

use crate::call::{Asked, At, Batch};
use crate::{ContractViolation, Discovered, EntryError};
use pvir_abi::{Conduits, Features, FeaturesRecord, Operation};

/// What the host offers and holds, as FEATURES said it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostLimits {
    /// Features offered. Bits that this driver does not know are kept.
    pub features: Features,
    /// Features enabled when it was asked; not empty if somebody enabled pvir before and did not disable it.
    pub enabled: Features,
    /// Highest APIC id that a destination may have.
    pub max_apic_id: u32,
    /// Most IRTEs that the VM may hold.
    pub max_irtes: u32,
    /// IRTEs that the VM holds.
    pub irtes: u32,
    /// Devices that the VM may ask for.
    pub devices: u32,
}

/// The one record of FEATURES.
pub(crate) struct AskFeatures<'a> {
    discovered: &'a Discovered,
    pub(crate) results: [Result<HostLimits, EntryError>; 1],
}

impl<'a> AskFeatures<'a> {
    pub(crate) const fn new(discovered: &'a Discovered) -> Self {
        Self { discovered, results: [Err(EntryError::NotAsked)] }
    }
}

impl Asked for FeaturesRecord {
    fn check_failed(&self, record: usize, got: &Self) -> Result<(), ContractViolation> {
        let expected = Self { status: got.status, ..*self };
        if *got == expected { Ok(()) } else { Err(ContractViolation::NotZero { record, field: "features" }) }
    }
}

impl Batch for AskFeatures<'_> {
    const OPERATION: Operation = Operation::FEATURES;
    type Record = FeaturesRecord;
    type Answer = HostLimits;

    fn len(&self) -> usize {
        1
    }

    fn ask(&self, place: usize) -> Option<FeaturesRecord> {
        (place == 0).then(FeaturesRecord::request)
    }

    fn judge(
        &self,
        At { record, epoch, .. }: At,
        _asked: &FeaturesRecord,
        got: &FeaturesRecord,
    ) -> Result<HostLimits, ContractViolation> {
        let host = &self.discovered.host;
        if (got.reserved0, got.reserved1, got.reserved2) != (0, 0, 0) {
            return Err(ContractViolation::RecordChanged { record, field: "reserved" });
        }
        let same = [
            ("oldest", got.oldest == host.oldest),
            ("newest", got.newest == host.newest),
            ("max_records", got.max_records == host.max_records),
            ("features", got.features == host.features.bits()),
        ];
        if let Some((field, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(ContractViolation::NotAsDiscovered { field });
        }
        if got.conduits != host.conduits.bits() {
            let said = Conduits::from_bits_retain(got.conduits);
            return Err(ContractViolation::Conduits { discovered: host.conduits, said });
        }
        let limits = HostLimits {
            features: Features::from_bits_retain(got.features),
            enabled: Features::from_bits_retain(got.enabled),
            max_apic_id: got.max_apic_id,
            max_irtes: got.max_irtes,
            irtes: got.irtes,
            devices: got.devices,
        };
        if !limits.features.contains(limits.enabled) || got.irtes > got.max_irtes {
            return Err(ContractViolation::NotAsDiscovered { field: "enabled or irtes" });
        }
        if !limits.enabled.is_empty() && epoch == 0 {
            return Err(ContractViolation::Epoch { before: 0, said: 0 });
        }
        Ok(limits)
    }

    fn results(&mut self) -> &mut [Result<HostLimits, EntryError>] {
        &mut self.results
    }
}
