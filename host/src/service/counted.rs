//! The host's interrupt counts, read before the VM's lock is taken, because reading them takes long.

use super::Service;
use super::vm::{Attached, Vm};
use crate::device::Origin;
use crate::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts};
use pvir_abi::{DeviceId, Store};
use std::sync::Arc;

/// Device, store and index of the entry that the host counts by: the entry whose interrupt it is.
pub(super) type CountedEntry = (DeviceId, Store, u32);

/// The counts that were read, sorted by entry.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<(CountedEntry, HostInterrupt)>);

impl Counted {
    /// The counts of an entry, or `None` if the host does not count it.
    pub(super) fn of(&self, place: Option<CountedEntry>) -> Option<HostInterrupt> {
        let place = place?;
        let found = self.0.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.0.get(found).map(|(_, host)| *host)
    }
}

impl Vm {
    /// The entry that the host counts by for the interrupt of the entry `origin`.
    pub(super) fn place(&self, origin: &Origin) -> Option<CountedEntry> {
        let attached = self.devices.get(&origin.device)?;
        let (store, index) = attached.device.backing(origin.store, origin.index);
        Some((origin.device, store, index))
    }
}

impl Service {
    /// Makes the service keep a record of each IRTE that is given back, with the host's counts for it, for
    /// [`history`](Self::history). Each UNMAP and DISABLE of a VM with VFIO devices then waits until the kernel has
    /// written `/proc/interrupts`, which takes the longer the more interrupts and CPUs the host has.
    #[must_use]
    pub fn with_history(mut self) -> Self {
        self.keeps_history = true;
        self
    }

    /// Reads the host's counts of the devices that `meant` picks. The lock is held only while these are looked up.
    /// Interrupts between this and the call that it precedes are not counted for the entry.
    pub(super) fn count(
        &self,
        purpose: CountPurpose,
        meant: impl Fn(DeviceId, &Attached) -> bool,
    ) -> Counted {
        let sources: Vec<(DeviceId, Arc<dyn HostCounts>)> = {
            let vm = self.lock();
            let source = |(id, attached): (&DeviceId, &Attached)| Some((*id, attached.device.host_counts()?));
            vm.devices.iter().filter(|(id, attached)| meant(**id, attached)).filter_map(source).collect()
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
        self.keeps_history.then(|| self.count(CountPurpose::BeforeStop, |_, attached| attached.held > 0))
    }
}
