//! The interrupts that a VM uses now, mapped and trapped, for observers of a running VM.

use super::Service;
use super::counted::CountedEntry;
use super::history::{IrteMessage, IrteRecord};
use super::vm::{Attached, Vm};
use crate::device::Origin;
use crate::device::{CountPurpose, HostInterrupt};
use crate::message::Message;

/// All messages that can interrupt a VM now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Live {
    /// The messages of the IRTEs that the guest holds.
    pub irtes: Vec<IrteRecord>,
    /// The used messages of the stores that the VMM emulates.
    pub trapped: Vec<TrappedRecord>,
}

/// A message of a store that the VMM emulates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrappedRecord {
    /// The device's entry; for MSI, the index is the number of the message.
    pub origin: Origin,
    /// The number of its eventfd's file descriptor in this process.
    pub eventfd: i32,
    /// Its GSI; `None` before the guest has unmasked it for the first time.
    pub gsi: Option<u32>,
    /// The message that the guest has written; `None` while it is masked.
    pub message: Option<Message>,
    /// The host's counts for it; `None` if the host does not count it.
    pub host: Option<HostInterrupt>,
}

impl Service {
    /// The interrupts that are in use now. The guest, KVM and VFIO do not notice the call: the VM's lock is held for
    /// a copy only, and the host's counts are read without it.
    #[must_use]
    pub fn live(&self) -> Live {
        let counted = self.count(CountPurpose::Report, |_, _| true);
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
