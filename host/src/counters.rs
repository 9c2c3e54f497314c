//! Counts of the ioctls that this process issues, by name, and of the exits of its vCPUs.
//!
//! Every backend of this crate counts each ioctl where it issues it. A test can then read, for example, that a MAP of
//! ten entries has issued one `KVM_SET_GSI_ROUTING`. A backend that issues an ioctl often keeps its [`Counter`]:
//! counting is then one atomic addition without a lock and without a lookup by name.
//!
//! Ioctls that libraries issue on their own during setup are not counted. These are the API version, the extensions
//! and the size of `kvm_run` (`kvm-ioctls`), the description of container, group and device (`vfio-ioctls`:
//! `VFIO_CHECK_EXTENSION`, `VFIO_SET_IOMMU`, `VFIO_GROUP_*`, `VFIO_DEVICE_GET_*`), the group's
//! `KVM_SET_DEVICE_ATTR`, and the end of an IOAS (`iommufd-ioctls`: `IOMMU_DESTROY`).

mod vcpu;

pub use vcpu::VcpuCounters;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ioctl counts of one VM, shared by all its backends.
#[derive(Debug, Default)]
pub struct Counters {
    ioctls: Mutex<BTreeMap<&'static str, Counter>>,
}

/// The count of one ioctl. A clone shares the count.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one to the count.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of the ioctl `name`, for example `KVM_IRQFD`.
    #[must_use]
    pub fn ioctl(&self, name: &'static str) -> Counter {
        self.lock().entry(name).or_default().clone()
    }

    /// Counts one call of the ioctl `name`. It looks the counter up by name, so it is meant for ioctls of the VM's
    /// setup.
    pub fn count_ioctl(&self, name: &'static str) {
        self.ioctl(name).count();
    }

    /// The counts so far, by name. Ioctls that were never issued are left out.
    #[must_use]
    pub fn ioctls(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.lock().iter().map(|(name, counter)| (*name, counter.get())).collect::<Vec<_>>();
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Counter>> {
        self.ioctls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_name() {
        let counters = Counters::new();
        let irqfd = counters.ioctl("KVM_IRQFD");
        let _never_called = counters.ioctl("KVM_SIGNAL_MSI");
        irqfd.count();
        irqfd.clone().count();
        counters.count_ioctl("KVM_IRQFD");
        counters.count_ioctl("KVM_SET_GSI_ROUTING");
        assert_eq!(counters.ioctls(), BTreeMap::from([("KVM_IRQFD", 3), ("KVM_SET_GSI_ROUTING", 1)]));
    }
}
