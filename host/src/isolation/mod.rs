//! Whether the host's remapping unit protects everybody else from what a guest writes into its device.
//!
//! VFIO's own check is not enough: `intremap=nosid` switches source-id checking off and VFIO still takes the unit for
//! isolating (Linux 6.12, drivers/iommu/intel/irq_remapping.c). So the switches are read as well, and anything that is
//! not known to be safe is refused.

mod group;
mod requester;
mod switches;
mod unit;

pub use unit::RemappingUnit;

use crate::device::NotIsolated;
use pvir_abi::{DeviceId, Refusal};
use std::path::{Path, PathBuf};

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

    fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// The device's folder in sysfs.
    #[must_use]
    pub fn device_path(&self, device: DeviceId) -> PathBuf {
        self.path("sys/bus/pci/devices").join(device.to_string())
    }

    /// Judges everything about the host and the device but the group's members.
    ///
    /// # Errors
    /// The first reason for which direct programming must be refused.
    pub fn judge(&self, device: DeviceId) -> Result<(), NotIsolated> {
        self.judge_command_line()?;
        self.judge_modules()?;
        self.judge_group_kind(device)?;
        self.judge_requester(device)
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
