//! The reasons for which a host device could not be attached, with a remedy where there is one.

use super::dma::DmaError;
use crate::isolation::{Host, IsolationError};
use pvir_abi::DeviceId;
use std::io;
use vfio_ioctls::VfioError;

/// Why a host device cannot be given to the VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The host does not have the device, or does not isolate it.
    #[error(transparent)]
    Host(#[from] IsolationError),
    /// A file of VFIO or of sysfs could not be opened or read.
    #[error("{device}: {path}; help: {}", remedy(source))]
    File {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The path of the file.
        path: String,
        /// The error of opening or reading it.
        #[source]
        source: io::Error,
    },
    /// An operation of VFIO failed.
    #[error("{device}: {operation}")]
    Vfio {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The operation, as a phrase for messages.
        operation: &'static str,
        /// The error of VFIO.
        #[source]
        source: VfioError,
    },
    /// The device could not be had by its own file and an iommufd ([`VfioWay::Cdev`](super::VfioWay::Cdev)).
    #[error("{device}: {what}")]
    Cdev {
        /// The device, by its address on the host.
        device: DeviceId,
        /// What failed, with a remedy.
        what: String,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// Another program has the device or its group, or this one has it in the other way.
    #[error("{device}: {what}")]
    InUse {
        /// The device, by its address on the host.
        device: DeviceId,
        /// Who has what, with a remedy.
        what: String,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// Guest RAM could not be mapped for the device's DMA.
    #[error("{device}: mapping guest RAM for DMA")]
    Dma {
        /// The device, by its address on the host.
        device: DeviceId,
        /// Which region, and why.
        #[source]
        source: DmaError,
    },
    /// An open device is not the one that its address says, or no PCI device at all.
    #[error("{device}: the open VFIO device is another: {what}")]
    OtherDevice {
        /// The address on the host that the VMM has given.
        device: DeviceId,
        /// How the open device differs.
        what: String,
    },
    /// The values in the device's configuration space do not fit its BARs or each other.
    #[error("{device}: {what}")]
    Malformed {
        /// The device, by its address on the host.
        device: DeviceId,
        /// Why the device is refused.
        what: String,
    },
    /// An access to the open device failed.
    #[error("{device}: {operation}")]
    Io {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The access, as a phrase for messages.
        operation: &'static str,
        /// The error of the access.
        #[source]
        source: io::Error,
    },
}

impl AttachError {
    /// Whether nothing is wrong with the device but that somebody has it or its group.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::File { source, .. } => source.kind() == io::ErrorKind::ResourceBusy,
            _ => false,
        }
    }
}

/// Translates VFIO's error into the reason that the host's user gets.
pub(super) fn attach_error(device: DeviceId, error: VfioError) -> AttachError {
    match error {
        VfioError::ContainerSetIOMMU(errno) if errno.errno() == libc::EPERM => {
            IsolationError::NotIsolated { device, reason: Host::no_remapping() }.into()
        }
        VfioError::OpenGroup(source, group) => {
            AttachError::File { device, path: format!("cannot open /dev/vfio/{group}"), source }
        }
        source => AttachError::Vfio { device, operation: "opening it by VFIO", source },
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "another program has it, or a device of it: end that, or use another device"
        }
        io::ErrorKind::PermissionDenied => "run as root, or give this user access to the file",
        _ => "see that the module vfio-pci is loaded and /sys and /dev are mounted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_depends_on_the_reason() {
        let say = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            let path = "cannot open /dev/vfio/7".to_owned();
            AttachError::File { device: DeviceId::default(), path, source }.to_string()
        };
        assert!(
            say(libc::EBUSY).contains("; help: another program has it, or a device of it"),
            "{}",
            say(libc::EBUSY)
        );
        assert!(say(libc::EACCES).contains("; help: run as root"), "{}", say(libc::EACCES));
        assert!(say(libc::ENOENT).contains("; help: see that the module vfio-pci"), "{}", say(libc::ENOENT));
    }
}
