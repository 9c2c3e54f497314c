//! The reasons for which a device is not isolated from the rest of the host, each with a remedy.

use pvir_abi::{DeviceId, Refusal};
use std::io;

/// Why a guest must not program a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; help: {remedy}")]
pub struct NotIsolated {
    /// The reason as the guest gets it in the answer of ENABLE.
    pub refusal: Refusal,
    /// The reason for the host's user: which setting, device or file it is.
    pub what: String,
    /// What the host's user can do about it. It never weakens the host.
    pub remedy: String,
}

/// Why a device cannot be given to a VM, as far as the host's `/sys` and `/proc` show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolationError {
    /// The host has no PCI device at this address.
    #[error("{0}: no such PCI device; help: `lspci -D` lists them")]
    NotFound(DeviceId),
    /// The device is not in an IOMMU group.
    #[error(
        "{0}: has no IOMMU group, so nothing remaps its interrupts or DMA: direct programming is refused; \
         help: turn on the IOMMU (VT-d or AMD-Vi) in the firmware, and boot Intel hosts with intel_iommu=on"
    )]
    NoGroup(DeviceId),
    /// The device is bound to another driver than vfio-pci, or to none.
    #[error("{device}: is bound to {}, not to vfio-pci", driver.as_deref().unwrap_or("no driver"))]
    OtherDriver {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The name of the driver that it is bound to; `None` if it has none.
        driver: Option<String>,
    },
    /// The device's IOMMU group has endpoints that are not given to this VM.
    #[error(
        "{device}: shares IOMMU group {group} with {}: they cannot be told apart by the IOMMU; \
         help: give all of the group to this VM, or use a device in a group of its own",
        list(others)
    )]
    SharedGroup {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The number of the group.
        group: u32,
        /// The endpoints of the group that are missing.
        others: Vec<DeviceId>,
    },
    /// A device of the same IOMMU group is used by a driver of the host.
    #[error(
        "{device}: shares IOMMU group {group} with {member}, which is bound to {driver}: VFIO gives no device of the group \
         away; help: give {member} to vfio-pci too, or take it from its driver"
    )]
    MemberInUse {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The number of the group.
        group: u32,
        /// The other device of the group.
        member: DeviceId,
        /// The driver that it is bound to.
        driver: String,
    },
    /// The remapping unit does not protect others from the device.
    #[error("{device}: direct programming is refused: {reason}")]
    NotIsolated {
        /// The device, by its address on the host.
        device: DeviceId,
        /// Which condition of isolation does not hold.
        reason: NotIsolated,
    },
    /// A file of the host could not be read.
    #[error("{device}: {path}; help: see that /sys is mounted, and let this user read it")]
    File {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The path of the file.
        path: String,
        /// The error of reading it.
        #[source]
        source: io::Error,
    },
    /// Sysfs describes the device's group in a way that is not understood.
    #[error("{device}: {what}")]
    Malformed {
        /// The device, by its address on the host.
        device: DeviceId,
        /// What is not understood, as a phrase for messages.
        what: String,
    },
}

fn list(devices: &[DeviceId]) -> String {
    devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
