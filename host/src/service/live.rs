//! What is in use now, mapped and trapped, for whoever watches a VM.

use super::Service;
use super::counted::CountedEntry;
use super::history::{IrteMessage, IrteRecord};
use super::vm::{Attached, Vm};
use crate::device::Origin;
use crate::device::{CountPurpose, HostInterrupt};
use crate::message::Message;

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
    pub message: Option<Message>,
    /// What the host counted for it, where it counts.
    pub host: Option<HostInterrupt>,
}

impl Service {
    /// What is in use now. Neither the guest nor KVM or VFIO learns of the question; the VM's lock is held for a copy.
    #[must_use]
    pub fn live(&self) -> Live {
        let counted = self.count(CountPurpose::Report, |_| true);
        let (irtes, trapped) = self.copy_under_lock();
        let with_host = |(record, place)| TrappedRecord { host: counted.of(place), ..record };
        Live {
            irtes: irtes.into_iter().map(|message| message.record(&counted)).collect(),
            trapped: trapped.into_iter().map(with_host).collect(),
        }
    }

    /// All for which a guest's call may have to wait: `./run.sh work` counts what this frame costs.
    #[inline(never)]
    fn copy_under_lock(&self) -> (Vec<IrteMessage>, Vec<(TrappedRecord, Option<CountedEntry>)>) {
        let vm = self.lock();
        (vm.messages(), vm.trapped_records())
    }
}

impl Vm {
    fn trapped_records(&self) -> Vec<(TrappedRecord, Option<CountedEntry>)> {
        let of_device = |(_, attached): (&_, &Attached)| {
            attached.trapped.as_ref().map_or_else(Vec::new, |trapped| trapped.infos(&self.lines))
        };
        let records = self.devices.iter().flat_map(of_device);
        let placed = |record: TrappedRecord| {
            let place = self.place(&record.origin);
            (record, place)
        };
        records.map(placed).collect()
    }
}
