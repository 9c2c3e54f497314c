//! What the host counted, read before the VM's lock is taken: it takes long, and other vCPUs are not to wait for it.

use super::Service;
use super::vm::{Attached, Vm};
use crate::device::Origin;
use crate::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts};
use pvir_abi::{DeviceId, Store};
use std::sync::Arc;

/// The device, and the entry whose interrupt it is: by this the host counts.
pub(super) type CountedEntry = (DeviceId, Store, u32);

/// In the order of places.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<(CountedEntry, HostInterrupt)>);

impl Counted {
    /// What was counted for an interrupt, where the host counts.
    pub(super) fn of(&self, place: Option<CountedEntry>) -> Option<HostInterrupt> {
        let place = place?;
        let found = self.0.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.0.get(found).map(|(_, host)| *host)
    }
}

impl Vm {
    /// Whose interrupt an entry has.
    pub(super) fn place(&self, origin: &Origin) -> Option<CountedEntry> {
        let attached = self.devices.get(&origin.device)?;
        let (store, index) = attached.device.backing(origin.store, origin.index);
        Some((origin.device, store, index))
    }
}

impl Service {
    /// Keeps IRTEs that are given back, and what the host counted for them, for [`history`](Self::history). Each UNMAP
    /// and DISABLE of a VM with VFIO devices then waits until the kernel has written `/proc/interrupts`, which takes the
    /// longer the more interrupts and processors the host has.
    #[must_use]
    pub fn with_history(mut self) -> Self {
        self.keeps_history = true;
        self
    }

    /// Reads the counts of the devices that are `meant`, under the lock for no longer than it takes to find them. What
    /// comes between this and the call that it is for is counted for nobody, or for the next that has the interrupt.
    pub(super) fn count(&self, purpose: CountPurpose, meant: impl Fn(&Attached) -> bool) -> Counted {
        let sources: Vec<(DeviceId, Arc<dyn HostCounts>)> = {
            let vm = self.lock();
            let source = |(id, attached): (&DeviceId, &Attached)| Some((*id, attached.device.host_counts()?));
            vm.devices.iter().filter(|(_, attached)| meant(attached)).filter_map(source).collect()
        };
        let kernel = KernelCounts::default();
        let mut counted = Counted::default();
        for (id, source) in sources {
            let of_device = source.read(&kernel, purpose).into_iter();
            counted.0.extend(of_device.map(|host| ((id, host.store, host.index), host)));
        }
        // Nearly always it is in order already.
        counted.0.sort_unstable_by_key(|(place, _)| *place);
        counted
    }

    /// Reads what IRTEs have that are about to be given back, if a history of them is kept.
    pub(super) fn count_last(&self) -> Option<Counted> {
        self.keeps_history.then(|| self.count(CountPurpose::BeforeStop, |attached| attached.held > 0))
    }
}
