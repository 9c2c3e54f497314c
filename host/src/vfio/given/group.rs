//! A group whose file somebody else has opened, and a device of it.
//!
//! The order is that of the kernel (Documentation/driver-api/vfio.rst, "VFIO Usage Example"): the group is put into the
//! container, whose first group brings the IOMMU; KVM is told; the device is opened. What fails is undone from its end.

use super::calls;
use crate::counters::Counters;
use crate::isolation::{Host, IsolationError};
use crate::vfio::error::AttachError;
use kvm_bindings::{KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL, kvm_device_attr};
use kvm_ioctls::DeviceFd;
use pvir_abi::DeviceId;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Where groups are put.
pub(in crate::vfio) struct GroupDomain<'a> {
    /// The container's descriptor.
    pub(in crate::vfio) container: RawFd,
    /// Whether the container has no group yet, and so no IOMMU.
    pub(in crate::vfio) is_empty: bool,
    pub(in crate::vfio) kvm: Option<&'a Arc<DeviceFd>>,
    pub(in crate::vfio) counters: &'a Arc<Counters>,
}

/// A device of a group that was given. When it is dropped the group leaves its container.
pub(in crate::vfio) struct GivenGroup {
    /// Closed first: the group cannot leave before.
    device: Option<File>,
    group: File,
    address: DeviceId,
    in_container: bool,
    known_to: Option<Arc<DeviceFd>>,
    counters: Arc<Counters>,
}

impl GivenGroup {
    /// Does all steps in their order. On failure all is as before.
    pub(in crate::vfio) fn open(
        group: File,
        domain: &GroupDomain<'_>,
        host: &Host,
        address: DeviceId,
    ) -> Result<Self, AttachError> {
        let failed = |operation| move |source| AttachError::Io { device: address, operation, source };
        let count = |name| domain.counters.count_ioctl(name);
        count("VFIO_GROUP_GET_STATUS");
        if !calls::is_viable(&group)
            .map_err(failed("VFIO_GROUP_GET_STATUS of the group's file that was given"))?
        {
            let not_viable = io::Error::from_raw_os_error(libc::EPERM);
            return Err(match host.member_with_driver(address) {
                Some(error) => error.into(),
                None => failed("a driver of the host uses a device of its IOMMU group")(not_viable),
            });
        }
        let counters = Arc::clone(domain.counters);
        let mut given = Self { device: None, group, address, in_container: false, known_to: None, counters };
        count("VFIO_GROUP_SET_CONTAINER");
        calls::set_container(&given.group, domain.container)
            .map_err(failed("putting its IOMMU group into the VM's container (VFIO_GROUP_SET_CONTAINER)"))?;
        given.in_container = true;
        if domain.is_empty {
            count("VFIO_SET_IOMMU");
            calls::set_iommu(domain.container).map_err(|source| match source.raw_os_error() {
                Some(libc::EPERM) => {
                    IsolationError::NotIsolated { device: address, reason: Host::no_remapping() }.into()
                }
                _ => failed("giving the VM's container its IOMMU (VFIO_SET_IOMMU)")(source),
            })?;
        }
        if let Some(kvm) = domain.kvm {
            given
                .tell(kvm, KVM_DEV_VFIO_FILE_ADD)
                .map_err(failed("telling KVM of its group (KVM_DEV_VFIO_FILE_ADD)"))?;
            given.known_to = Some(Arc::clone(kvm));
        }
        given.device = Some(given.open_device(address)?);
        Ok(given)
    }

    fn open_device(&self, address: DeviceId) -> Result<File, AttachError> {
        self.counters.count_ioctl("VFIO_GROUP_GET_DEVICE_FD");
        let operation = "opening it by its group (VFIO_GROUP_GET_DEVICE_FD)";
        let failed = |source| AttachError::Io { device: address, operation, source };
        let name = CString::new(address.to_string()).map_err(|error| failed(io::Error::other(error)))?;
        calls::device_of(&self.group, &name).map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => AttachError::OtherDevice {
                device: address,
                what: "the group whose file was given does not have it".to_owned(),
            },
            _ => failed(source),
        })
    }

    /// The open device.
    pub(in crate::vfio) fn device(&self) -> Option<&File> {
        self.device.as_ref()
    }

    fn tell(&self, kvm: &DeviceFd, attribute: u32) -> io::Result<()> {
        self.counters.count_ioctl("KVM_SET_DEVICE_ATTR");
        let number = self.group.as_raw_fd();
        let request = kvm_device_attr {
            group: KVM_DEV_VFIO_FILE,
            attr: attribute.into(),
            addr: (&raw const number) as u64,
            ..Default::default()
        };
        kvm.set_device_attr(&request).map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

impl Drop for GivenGroup {
    fn drop(&mut self) {
        drop(self.device.take());
        let device = self.address;
        if let Some(kvm) = self.known_to.take() {
            if let Err(error) = self.tell(&kvm, KVM_DEV_VFIO_FILE_DEL) {
                tracing::warn!(%device, "KVM keeps its group until the VM ends (KVM_DEV_VFIO_FILE_DEL): {error}");
            }
        }
        if self.in_container {
            self.counters.count_ioctl("VFIO_GROUP_UNSET_CONTAINER");
            if let Err(error) = calls::unset_container(&self.group) {
                tracing::warn!(%device, "its group stays in the VM's container (VFIO_GROUP_UNSET_CONTAINER): {error}");
            }
        }
    }
}
