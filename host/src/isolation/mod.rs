//! Whether the host's remapping unit protects the host and all other devices from what a guest writes into its
//! device.
//!
//! VFIO's own check is not enough. The kernel parameter `intremap=nosid` switches source-id checking off, and VFIO
//! still reports the unit as isolating (Linux 6.12, drivers/iommu/intel/irq_remapping.c). So [`Host`] reads the
//! switches as well, and refuses whatever is not known to be safe.

mod alias;
mod error;
#[cfg(test)]
mod fixture;
mod form;
mod function;
mod group;
mod ivrs;
mod kernel;
mod nodes;
mod pages;
mod phantom;
mod posting;
mod requester;
mod shown;
mod switches;
mod unit;
mod unmapped;

pub use error::{IsolationError, NotIsolated};
pub use function::{Function, MessageCounts};
pub use kernel::{Defect, DefectPolicy, Release};
pub(crate) use phantom::validate_phantom;
pub use posting::Posting;
pub use shown::ShownIrtes;
pub use unit::{RemappingUnit, Units};

use pvir_abi::{DeviceId, Refusal};
use std::path::{Path, PathBuf};

/// One condition of isolation, for one device of a VM that gets all of the given devices.
type Check = fn(&Host, DeviceId, &[DeviceId]) -> Result<(), NotIsolated>;

/// All conditions of isolation. The first [`OF_HOST`] are about the host, and look at no device.
const CHECKS: [Check; 9] = [
    |host, _, _| host.validate_command_line(),
    |host, _, _| host.validate_modules(),
    Host::validate_kernel,
    |host, device, _| host.validate_group_kind(device),
    |host, device, _| host.validate_requester(device),
    |host, device, _| host.validate_alias(device),
    |host, device, _| host.validate_phantom_functions(device),
    |host, device, _| host.validate_unmapped(device),
    Host::validate_pages,
];
/// Number of checks that are about the host as a whole.
const OF_HOST: usize = 3;

/// The host as its `/sys` and `/proc` describe it.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Host {
    /// A host whose `/sys` and `/proc` are below `root`: for tests, and for a container that sees the host's root.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of a file of the host. `below` is its absolute path without the leading slash, for example
    /// `proc/cmdline`.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// The device's directory in sysfs, `/sys/bus/pci/devices/<address>`.
    #[must_use]
    pub fn device_path(&self, device: DeviceId) -> PathBuf {
        self.path("sys/bus/pci/devices").join(device.to_string())
    }

    /// Validates all conditions of isolation for `device`, apart from the members of its IOMMU group
    /// ([`check_group`](Self::check_group)). `assigned` are all host devices of the VM.
    ///
    /// # Errors
    /// The first reason for which the guest must not program the device.
    pub fn validate(&self, device: DeviceId, assigned: &[DeviceId]) -> Result<(), NotIsolated> {
        CHECKS.iter().try_for_each(|check| check(self, device, assigned))
    }

    /// Every reason for which [`validate`](Self::validate) would refuse the device.
    #[must_use]
    pub fn reasons(&self, device: DeviceId, assigned: &[DeviceId]) -> Vec<NotIsolated> {
        CHECKS.iter().filter_map(|check| check(self, device, assigned).err()).collect()
    }

    /// Every reason that is the host's own, and holds for any device.
    #[must_use]
    pub fn host_reasons(&self) -> Vec<NotIsolated> {
        CHECKS[..OF_HOST].iter().filter_map(|check| check(self, DeviceId::default(), &[]).err()).collect()
    }

    /// The reason to refuse a device whose IOMMU group VFIO reports as not isolated.
    #[must_use]
    pub fn no_remapping() -> NotIsolated {
        NotIsolated {
            refusal: Refusal::NO_REMAPPING,
            what: "interrupt remapping is off on this host: VFIO finds the group's interrupts not isolated".into(),
            remedy: "turn on interrupt remapping (x2APIC and VT-d or AMD-Vi in the firmware; intel_iommu=on and no \
                     intremap=off on the kernel's command line); do not set allow_unsafe_interrupts"
                .into(),
        }
    }
}
