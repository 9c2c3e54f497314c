//! Whether the host's remapping unit protects everybody else from what a guest writes into its device.
//!
//! VFIO's own check is not enough: `intremap=nosid` switches source-id checking off and VFIO still takes the unit for
//! isolating (Linux 6.12, drivers/iommu/intel/irq_remapping.c). So the switches are read as well, and anything that is
//! not known to be safe is refused.

mod alias;
mod error;
#[cfg(test)]
mod fixture;
mod function;
mod group;
mod kernel;
mod pages;
mod phantom;
mod posting;
mod requester;
mod shown;
mod switches;
mod unit;

pub use error::{IsolationError, NotIsolated};
pub use function::{Function, MessageCounts};
pub use kernel::{Defect, DefectPolicy, Release};
pub(crate) use phantom::validate_phantom;
pub use posting::Posting;
pub use shown::ShownIrtes;
pub use unit::{RemappingUnit, Units};

use pvir_abi::{DeviceId, Refusal};
use std::path::{Path, PathBuf};

/// What must hold, for the device of a VM that gets all of these devices.
type Check = fn(&Host, DeviceId, &[DeviceId]) -> Result<(), NotIsolated>;

/// All that must hold. The first ones are about the host, and look at no device.
const CHECKS: [Check; 8] = [
    |host, _, _| host.validate_command_line(),
    |host, _, _| host.validate_modules(),
    Host::validate_kernel,
    |host, device, _| host.validate_group_kind(device),
    |host, device, _| host.validate_requester(device),
    |host, device, _| host.validate_alias(device),
    |host, device, _| host.validate_phantom_functions(device),
    Host::validate_pages,
];
/// How many of them are about the host.
const OF_HOST: usize = 3;

/// The host as its `/sys` and `/proc` show it.
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
    /// A host whose `/sys` and `/proc` are below `root`: for tests, and for a look from outside of a container.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file of the host, by its path from the root on, without the first slash.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// The device's folder in sysfs.
    #[must_use]
    pub fn device_path(&self, device: DeviceId) -> PathBuf {
        self.path("sys/bus/pci/devices").join(device.to_string())
    }

    /// Validates everything about the host and the device but the group's members. `assigned` are all host devices of
    /// the VM.
    ///
    /// # Errors
    /// The first reason for which direct programming must be refused.
    pub fn validate(&self, device: DeviceId, assigned: &[DeviceId]) -> Result<(), NotIsolated> {
        CHECKS.iter().try_for_each(|check| check(self, device, assigned))
    }

    /// Every reason for which [`validate`](Self::validate) would refuse.
    #[must_use]
    pub fn reasons(&self, device: DeviceId, assigned: &[DeviceId]) -> Vec<NotIsolated> {
        CHECKS.iter().filter_map(|check| check(self, device, assigned).err()).collect()
    }

    /// Every reason that is the host's own, whichever device it is about.
    #[must_use]
    pub fn host_reasons(&self) -> Vec<NotIsolated> {
        CHECKS[..OF_HOST].iter().filter_map(|check| check(self, DeviceId::default(), &[]).err()).collect()
    }

    /// The reason when VFIO itself finds the group's interrupts not isolated.
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
