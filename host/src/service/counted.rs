//! What the host counted, read before the VM's lock is taken: it takes long, and other vCPUs are not to wait for it.

use super::Service;
use super::vm::Attached;
use crate::device::{Device, HostCounts, HostInterrupt, KernelCounts};
use crate::irte::Origin;
use pvir_abi::{DeviceId, Store};
use std::sync::Arc;

/// The device, and the entry whose interrupt it is.
type Place = (DeviceId, Store, u32);

/// In the order of places.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<(Place, HostInterrupt)>);

impl Counted {
    /// What was counted for a message of an entry, where the host counts.
    pub(super) fn of(&self, device: &dyn Device, origin: &Origin, message: u32) -> Option<HostInterrupt> {
        let (store, index) = device.backing(origin.store, origin.index);
        let place = (origin.device, store, index + message);
        let found = self.0.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.0.get(found).map(|(_, host)| *host)
    }
}

impl Service {
    /// Reads the counts of the devices that are `meant`, under the lock for no longer than it takes to find them. What
    /// comes between this and the call that it is for is counted for nobody, or for the next that has the interrupt.
    pub(super) fn count(&self, meant: impl Fn(&Attached) -> bool) -> Counted {
        let sources: Vec<(DeviceId, Arc<dyn HostCounts>)> = {
            let vm = self.lock();
            let source = |(id, attached): (&DeviceId, &Attached)| Some((*id, attached.device.host_counts()?));
            vm.devices.iter().filter(|(_, attached)| meant(attached)).filter_map(source).collect()
        };
        let kernel = KernelCounts::default();
        let mut counted = Counted::default();
        for (id, source) in sources {
            let of_device = source.read(&kernel).into_iter();
            counted.0.extend(of_device.map(|host| ((id, host.store, host.index), host)));
        }
        // Nearly always it is in order already.
        counted.0.sort_unstable_by_key(|(place, _)| *place);
        counted
    }
}
