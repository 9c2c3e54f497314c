//! Why a device is not isolated from the rest of the host, each with what the user can do about it.

use pvir_abi::{DeviceId, Refusal};
use std::io;

/// Why a device must not be programmed by the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; help: {remedy}")]
pub struct NotIsolated {
    /// The reason as the guest is told.
    pub refusal: Refusal,
    /// The reason for the host's user, with the object that it is about.
    pub what: String,
    /// What the user can do about it. Never anything that weakens the host.
    pub remedy: String,
}

/// Why the host, as `/sys` and `/proc` show it, does not let a device be given to a VM.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// No such device.
    #[error("{0}: no such PCI device; help: `lspci -D` lists them")]
    NotFound(DeviceId),
    /// The device is not in an IOMMU group.
    #[error(
        "{0}: has no IOMMU group, so nothing remaps its interrupts or DMA: direct programming is refused; \
         help: turn on the IOMMU (VT-d or AMD-Vi) in the firmware, and boot Intel hosts with intel_iommu=on"
    )]
    NoGroup(DeviceId),
    /// Bound to another driver than vfio-pci, or to none.
    #[error("{device}: is bound to {}, not to vfio-pci", driver.as_deref().unwrap_or("no driver"))]
    OtherDriver {
        /// The device.
        device: DeviceId,
        /// Its driver.
        driver: Option<String>,
    },
    /// The group has members that are not given to this VM.
    #[error(
        "{device}: shares IOMMU group {group} with {}: they cannot be told apart by the IOMMU; \
         help: give all of the group to this VM, or use a device in a group of its own",
        list(others)
    )]
    SharedGroup {
        /// The device.
        device: DeviceId,
        /// Its group.
        group: u32,
        /// The other members.
        others: Vec<DeviceId>,
    },
    /// The remapping unit does not protect others from the device.
    #[error("{device}: direct programming is refused: {reason}")]
    NotIsolated {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: NotIsolated,
    },
    /// A file of the host could not be read.
    #[error("{device}: {path}; help: see that /sys is mounted, and let this user read it")]
    File {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The device's group makes no sense.
    #[error("{device}: {what}")]
    Malformed {
        /// The device.
        device: DeviceId,
        /// What makes no sense.
        what: String,
    },
}

fn list(devices: &[DeviceId]) -> String {
    devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
