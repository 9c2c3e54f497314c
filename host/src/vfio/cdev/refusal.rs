//! Why a device could not be had by its own file. The kernel has one errno for several reasons (Linux 6.12,
//! drivers/vfio/device_cdev.c, drivers/vfio/vfio_main.c, drivers/iommu/iommufd/device.c):
//!
//! | errno of BIND | reason |
//! |---|---|
//! | EPERM | a device of the group has a driver that uses it, or another iommufd has it, or the unit does not remap |
//! | EBUSY | the group's file is open |
//! | EINVAL | the device is bound already, by another open file |
//! | EACCES | a virtual function, whose physical function vfio-pci has with a token |

use super::bound::{Failed, Step};
use crate::isolation::{Host, IsolationError};
use crate::vfio::error::AttachError;
use pvir_abi::DeviceId;
use std::io;
use std::path::Path;

/// A device that VFIO shows no file for.
pub(super) fn no_node(host: &Host, device: DeviceId) -> AttachError {
    let what = format!(
        "it has no file of its own ({} is not there); help: use a kernel with CONFIG_VFIO_DEVICE_CDEV (Linux 6.6 or \
         newer), or the way by groups",
        host.device_path(device).join("vfio-dev").display()
    );
    AttachError::Cdev { device, what, source: io::ErrorKind::NotFound.into() }
}

/// The reason for the host's user.
pub(super) fn explain(host: &Host, device: DeviceId, node: &Path, failed: Failed) -> AttachError {
    let Failed { step, source } = failed;
    let node = node.display();
    let cdev = |what: String, source| AttachError::Cdev { device, what, source };
    let errno = source.raw_os_error();
    match (step, errno) {
        (Step::Open, _) => AttachError::File { device, path: format!("cannot open {node}"), source },
        (Step::TellKvm, _) => cdev(
            format!("KVM does not take {node} (KVM_DEV_VFIO_FILE_ADD); help: use Linux 6.6 or newer"),
            source,
        ),
        (Step::Bind, Some(libc::EPERM)) => not_permitted(host, device, source),
        (Step::Bind, Some(libc::EBUSY)) => {
            let group = host.vfio_group_node(device).unwrap_or_default();
            AttachError::InUse {
                device,
                what: format!(
                    "its IOMMU group is used by the way of groups: another program has {} open; help: end that, or \
                     use another device",
                    group.display()
                ),
                source,
            }
        }
        (Step::Bind, Some(libc::EINVAL)) => AttachError::InUse {
            device,
            what: format!("{node} is bound to an iommufd already: another program has it; help: end that"),
            source,
        },
        (Step::Bind, Some(libc::EACCES)) => cdev(
            "its physical function is vfio-pci's too, whose user has set a token for virtual functions; help: give the \
             physical function back to its driver"
                .into(),
            source,
        ),
        (Step::Bind, _) => cdev(format!("VFIO_DEVICE_BIND_IOMMUFD of {node}"), source),
        (Step::Attach, Some(libc::ENOMEM)) => cdev(
            "VFIO_DEVICE_ATTACH_IOMMUFD_PT: the VM's RAM cannot be locked; help: raise the locked-memory limit \
             (`ulimit -l`): iommufd counts all VMs of a user together"
                .into(),
            source,
        ),
        (Step::Attach, _) => cdev(
            "VFIO_DEVICE_ATTACH_IOMMUFD_PT: its IOMMU does not take the VM's RAM; help: see the host's kernel log, and \
             /sys/kernel/iommu_groups/*/reserved_regions"
                .into(),
            source,
        ),
    }
}

/// The group is looked at first: of the three reasons this one can be known for certain.
fn not_permitted(host: &Host, device: DeviceId, source: io::Error) -> AttachError {
    if let Some(error) = host.member_with_driver(device) {
        return error.into();
    }
    let others: Vec<DeviceId> = host
        .group_endpoints(device)
        .unwrap_or_default()
        .into_iter()
        .filter(|other| *other != device)
        .collect();
    // A group of one device cannot be another's: its file would be bound.
    if others.is_empty() || host.units().remapping == Some(false) {
        return IsolationError::NotIsolated { device, reason: Host::no_remapping() }.into();
    }
    let names: Vec<String> = others.iter().map(ToString::to_string).collect();
    AttachError::InUse {
        device,
        what: format!(
            "it shares its IOMMU group with {}, and another iommufd has one of the group; help: end the program that \
             has it: a group belongs to one VM",
            names.join(", ")
        ),
        source,
    }
}
