//! What weakens isolation, staged as far as the lab can, and the commands that look at it.
//!
//! Not to be staged: VFIO's no-IOMMU mode (Debian's kernel has none; `cdev.rs` has iommufd's switch), devices with aliases or
//! phantom functions (QEMU has none), two BARs in a page (its firmware gives each a page). Unit tests have those, in
//! `host/src/isolation/`.

use anyhow::Result;

use super::driver::findings;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding};

/// The usual devices of the product's cases, of which the commands must tell which belong together.
const USUAL: &[&str] = &["igb", "edu", "igb", "edu,multifunction=on,addr=0x10.0", "edu,addr=0x10.1"];
const ONE: &[&str] = &["igb"];
/// Device 0 is behind a bridge to conventional PCI, device 1 is not.
const BRIDGE: &[&str] =
    &["pcie-pci-bridge,id=conventional,addr=0x12", "edu,bus=conventional,addr=1", "edu,addr=0x4"];

pub(super) const COMMANDS: Batch = Batch {
    cases: &[
        ("commands/doctor", "what it says of a good host, and of one with a switch set"),
        ("commands/devices", "what can be passed through, and who uses the rest"),
        ("commands/bind-and-unbind", "an igb goes to its driver and back, and is kept while it is in use"),
        ("commands/bind-refused", "bridges, and what the host uses, are left alone"),
        ("commands/unbind-refused", "a device of a running VM is left alone"),
    ],
    run: |names| run(Iommu::Intel, USUAL, "", names),
};

pub(super) const COMMANDS_AMD: Batch = Batch {
    cases: &[("amd/doctor", "what it says of a good host, and of one with a switch set")],
    run: |names| run(Iommu::Amd, ONE, "", names),
};

pub(super) const COMMANDS_OFF: Batch = Batch {
    cases: &[("off/doctor-without-iommu", "emulated devices, and no other")],
    run: |names| run(Iommu::Off, ONE, "", names),
};

pub(super) const ACS: Batch = Batch {
    cases: &[("acs/acs-override", "a host that only assumes isolation is refused")],
    run: |names| run(Iommu::Intel, ONE, "pcie_acs_override=downstream,multifunction", names),
};

pub(super) const INTREMAP_OFF: Batch = Batch {
    cases: &[("intremap-off/remapping-switched-off", "a host that was told not to remap is refused")],
    run: |names| run(Iommu::Intel, ONE, "intremap=off", names),
};

pub(super) const AMD_INTREMAP_OFF: Batch = Batch {
    cases: &[("amd-intremap-off/remapping-switched-off", "a host that was told not to remap is refused")],
    run: |names| run(Iommu::Amd, ONE, "intremap=off", names),
};

pub(super) const BEHIND_BRIDGE: Batch = Batch {
    cases: &[("bridge/behind-bridge", "a device behind a bridge to conventional PCI is refused")],
    run: |names| run(Iommu::Intel, BRIDGE, "", names),
};

fn run(iommu: Iommu, devices: &[&str], append: &str, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = devices.iter().map(|device| (*device).to_owned()).collect();
    findings(&Options { iommu, devices, append: append.into(), ..Options::default() }, names)
}
