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
