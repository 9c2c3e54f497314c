//! Counts of what this process asked of the kernel, by name, and of what vCPUs do.
//!
//! Every backend of this crate counts each ioctl where it is issued, so that "one `KVM_SET_GSI_ROUTING` for a map of
//! ten" is a number that a test can read and not a claim. Whoever issues one again and again has its [`Counter`]: to
//! count is then one addition, without a lock and without a look for the name. `./run.sh work` says what it costs.
//!
//! Not counted is what libraries ask on their own while a VM is set up: `kvm-ioctls` the API version, extensions and the
//! size of `kvm_run`; `vfio-ioctls` the container's, group's and device's description (`VFIO_CHECK_EXTENSION`,
//! `VFIO_SET_IOMMU`, `VFIO_GROUP_*`, `VFIO_DEVICE_GET_*`) and `KVM_SET_DEVICE_ATTR` for the group.

mod vcpu;

pub use vcpu::VcpuCounters;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The registry of ioctl counts; one for a VM, shared by all its backends.
#[derive(Debug, Default)]
pub struct Counters {
    ioctls: Mutex<BTreeMap<&'static str, Counter>>,
}

/// One count. A clone is the same count.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one.
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

    /// Counts one call of the ioctl `name`: for what is called while a VM is set up, and hardly again.
    pub fn count_ioctl(&self, name: &'static str) {
        self.ioctl(name).count();
    }

    /// The counts so far, without those that were never called.
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
