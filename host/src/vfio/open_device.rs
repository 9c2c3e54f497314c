//! A VFIO device that the VMM has opened itself.

use super::descriptor;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use vfio_ioctls::VfioDevice;

/// A VFIO device that the VMM has opened itself, in a container or an iommufd of its own, for
/// [`VfioPci::from_open`](super::VfioPci::from_open).
///
/// The library needs the descriptor of the device and nothing else: `VFIO_GROUP_GET_DEVICE_FD` gives one, and so does
/// opening `/dev/vfio/devices/vfioN` and binding it to an iommufd. The descriptor must be open for reading *and*
/// writing. What belongs to the IOMMU stays the VMM's: containers and groups, DMA mappings of guest RAM (and that
/// nothing else is mapped), and KVM's device of type `KVM_DEV_TYPE_VFIO`, which should know the group or the device.
///
/// # Dropping
/// A group cannot leave its container while a descriptor of its device is open. The library's descriptor is closed
/// when the [`VfioPci`](super::VfioPci) is dropped and nothing maps its BARs any more. A VMM whose objects give the
/// group back when they are dropped hands them over by [`keeping`](Self::keeping): they are then dropped after that.
pub struct OpenDevice {
    pub(super) descriptor: OwnedFd,
    pub(super) keeper: Keeper,
}

/// What must live longer than all descriptors of a device.
pub(super) type Keeper = Option<Box<dyn Send + Sync>>;

impl OpenDevice {
    /// A device whose descriptor stays the VMM's too.
    ///
    /// # Errors
    /// The errno of duplicating the descriptor.
    pub fn duplicate(device: BorrowedFd<'_>) -> io::Result<Self> {
        device.try_clone_to_owned().map(Self::from)
    }

    /// A device that `vfio-ioctls` has opened, in the version that [`super::vfio_ioctls`] re-exports. It is dropped
    /// after the library's own descriptor.
    ///
    /// # Errors
    /// The errno of duplicating its descriptor.
    pub fn of_vfio_ioctls(device: Arc<VfioDevice>) -> io::Result<Self> {
        Ok(Self::duplicate(descriptor::borrow(&device))?.keeping(device))
    }

    /// Keeps `owner` until the library's descriptor is closed, and drops it then: for what gives the group or the
    /// iommufd back when it is dropped. What was to be kept before is kept too.
    #[must_use]
    pub fn keeping(self, owner: impl Send + Sync + 'static) -> Self {
        let Self { descriptor, keeper } = self;
        Self { descriptor, keeper: Some(Box::new((keeper, owner))) }
    }
}

impl From<OwnedFd> for OpenDevice {
    fn from(descriptor: OwnedFd) -> Self {
        Self { descriptor, keeper: None }
    }
}

impl fmt::Debug for OpenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDevice").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::isolation::Host;
    use crate::vfio::{AttachError, Demand, VfioPci};
    use pvir_abi::{Bdf, DeviceId};
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;

    /// A host with a device that vfio-pci has.
    fn host() -> (tempfile::TempDir, Host, DeviceId) {
        let (root, id) = (tempfile::tempdir().unwrap(), DeviceId::new(0, Bdf::new(0, 5, 0).unwrap()));
        let host = Host::at(root.path());
        let members = host.path("sys/kernel/iommu_groups/3/devices");
        fs::create_dir_all(members.join(id.to_string())).unwrap();
        let folder = host.device_path(id);
        fs::create_dir_all(&folder).unwrap();
        symlink("/sys/kernel/iommu_groups/3", folder.join("iommu_group")).unwrap();
        symlink("/sys/devices/virtual/iommu/dmar0", folder.join("iommu")).unwrap();
        symlink("/sys/bus/pci/drivers/vfio-pci", folder.join("driver")).unwrap();
        (root, host, id)
    }

    /// What is kept: it sees the end of the stream only when no descriptor of the other side is open.
    struct Kept(UnixStream, &'static str, Arc<Mutex<Vec<&'static str>>>);

    impl Drop for Kept {
        fn drop(&mut self) {
            assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
            self.2.lock().unwrap().push(self.1);
        }
    }

    #[test]
    fn what_is_no_vfio_device_is_refused_with_errno_and_closed_before_what_is_kept() {
        let (_root, host, id) = host();
        let (reader, writer) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let order = Arc::default();
        let kept = |name| Kept(reader.try_clone().unwrap(), name, Arc::clone(&order));
        let open = OpenDevice::from(OwnedFd::from(writer)).keeping(kept("group")).keeping(kept("container"));
        let refused = VfioPci::from_open(open, &host, id, &[id], Demand::OfVfio, &Counters::new());
        let error = refused.err().unwrap();
        assert!(error.to_string().contains("VFIO_DEVICE_GET_INFO"), "{error}");
        assert!(
            matches!(error, AttachError::Io { source, .. } if source.raw_os_error() == Some(libc::ENOTTY))
        );
        assert_eq!(*order.lock().unwrap(), ["group", "container"]);
    }

    #[test]
    fn a_foreign_device_is_judged_as_our_own() {
        let (_root, host, id) = host();
        let folder = host.device_path(id);
        let take = |demand| {
            let open = OpenDevice::from(OwnedFd::from(tempfile::tempfile().unwrap()));
            VfioPci::from_open(open, &host, id, &[id], demand, &Counters::new()).err().unwrap().to_string()
        };
        // The host has no command line that could be read.
        assert!(
            take(Demand::Isolation).contains("direct programming is refused"),
            "{}",
            take(Demand::Isolation)
        );
        let other = DeviceId::new(0, Bdf::new(0, 6, 0).unwrap());
        fs::create_dir(host.path("sys/kernel/iommu_groups/3/devices").join(other.to_string())).unwrap();
        assert!(take(Demand::Isolation).contains("shares IOMMU group 3"));
        fs::remove_file(folder.join("driver")).unwrap();
        assert!(take(Demand::OfVfio).contains("is bound to no driver"));
    }
}
