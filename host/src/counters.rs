//! Counts of what this process asked of the kernel, by name.
//!
//! Every backend of this crate counts each ioctl where it is issued, so that "one `KVM_SET_GSI_ROUTING` for a map of
//! ten" is a number that a test can read and not a claim.
//!
//! Not counted is what libraries ask on their own while a VM is set up: `kvm-ioctls` the API version, extensions and the
//! size of `kvm_run`; `vfio-ioctls` the container's, group's and device's description (`VFIO_CHECK_EXTENSION`,
//! `VFIO_SET_IOMMU`, `VFIO_GROUP_*`, `VFIO_DEVICE_GET_*`) and `KVM_SET_DEVICE_ATTR` for the group.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// The registry of ioctl counts; one for a VM, shared by all its backends.
#[derive(Debug, Default)]
pub struct Counters {
    ioctls: RwLock<BTreeMap<&'static str, AtomicU64>>,
}

impl Counters {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one call of the ioctl `name`, for example `KVM_IRQFD`.
    pub fn count_ioctl(&self, name: &'static str) {
        let known = self.ioctls.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(name) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(known);
        let mut all = self.ioctls.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_default().fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn ioctls(&self) -> BTreeMap<&'static str, u64> {
        let all = self.ioctls.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, count)| (*name, count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_name() {
        let counters = Counters::new();
        counters.count_ioctl("KVM_IRQFD");
        counters.count_ioctl("KVM_IRQFD");
        counters.count_ioctl("KVM_SET_GSI_ROUTING");
        assert_eq!(counters.ioctls(), BTreeMap::from([("KVM_IRQFD", 2), ("KVM_SET_GSI_ROUTING", 1)]));
    }
}
