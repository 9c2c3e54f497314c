//! What is in use now, mapped and trapped, for whoever watches a VM.

use super::Service;
use super::counted::Counted;
use super::history::IrteRecord;
use super::vm::Vm;
use crate::device::HostInterrupt;
use crate::irte::Origin;
use crate::kvm::KvmMessage;

/// Everything of a VM that can interrupt it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The messages of the IRTEs that the guest holds.
    pub irtes: Vec<IrteRecord>,
    /// The messages of stores that the VMM emulates, as far as they are used.
    pub trapped: Vec<TrappedRecord>,
}

/// A message whose store the VMM emulates.
#[derive(Clone, Debug)]
pub struct TrappedRecord {
    /// The message: of MSI, its number is the index.
    pub origin: Origin,
    /// Descriptor number of its eventfd.
    pub eventfd: i32,
    /// GSI, once it was sent for the first time.
    pub gsi: Option<u32>,
    /// Where it goes: the guest's own message. `None` while it is masked.
    pub message: Option<KvmMessage>,
    /// What the host counted for it, where it counts.
    pub host: Option<HostInterrupt>,
}

impl Service {
    /// What is in use now. Neither the guest nor KVM or VFIO learns of the question; the VM's lock is held for a copy.
    #[must_use]
    pub fn live(&self) -> Live {
        let counted = self.count(|_| true);
        let vm = self.lock();
        Live { irtes: vm.live_records(&counted), trapped: vm.trapped_records(&counted) }
    }
}

impl Vm {
    fn trapped_records(&self, counted: &Counted) -> Vec<TrappedRecord> {
        let of_device = |(id, attached): (&_, &super::vm::Attached)| {
            let infos = attached.trapped.as_ref().map_or_else(Vec::new, |trapped| trapped.infos(*id));
            infos
                .into_iter()
                .map(|record| {
                    let host = counted.of(&*attached.device, &record.origin, 0);
                    TrappedRecord { host, ..record }
                })
                .collect::<Vec<_>>()
        };
        self.devices.iter().flat_map(of_device).collect()
    }
}
