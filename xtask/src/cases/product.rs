//! The product's cases in the lab, one machine for each kind of host.

use anyhow::Result;

use super::driver::findings;
use crate::lab::{Iommu, Options};
use crate::test::{Batch, Finding};

/// Devices 0 to 4: two of several vectors, one of a single MSI between them, and two functions that share a group.
const DEVICES: [&str; 5] = ["igb", "edu", "igb", "edu,multifunction=on,addr=0x10.0", "edu,addr=0x10.1"];

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/blocked-msix", "pairs that were not given, and another NIC's, reach nobody and are logged"),
        ("intel/pairs", "pair, table and IRTE agree, before and after the guest's and the host's moves"),
        ("intel/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("intel/apic300", "a vCPU with APIC id 300 gets its interrupts"),
        ("intel/refusals", "bad input, through the real service"),
        ("intel/conduit-port", "all calls by port"),
        ("intel/conduit-msr", "all calls by MSR"),
        ("intel/conduit-vmmcall", "all calls by VMMCALL"),
        ("intel/used-again", "a device is used three times in a row"),
        ("intel/killed", "pvir is killed in a storm"),
        ("intel/no-such-device", "refused"),
        ("intel/no-driver", "refused"),
        ("intel/other-driver", "refused"),
        ("intel/shared-group", "refused"),
        ("intel/unsafe-interrupts", "refused"),
        ("intel/blocked-msi", "pairs that were not given, and an MSI device's, reach nobody and are logged"),
    ],
    run: |names| run(Iommu::Intel, 2, "", names),
};

/// With four CPUs, one for each vCPU: QEMU's emulation of SVM now and then loses the state of a guest, or of L1, when
/// vCPUs of two VMs take turns on a CPU.
pub(super) const INTEL_TWO: Batch = Batch {
    cases: &[("intel/two-vms", "two VMs at once, a device each")],
    run: |names| run(Iommu::Intel, 4, "", names),
};

pub(super) const AMD: Batch = Batch {
    cases: &[
        ("amd/pairs", "pair and table agree, before and after the guest's and the host's moves"),
        ("amd/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("amd/apic300", "a vCPU with APIC id 300 gets its interrupts"),
        ("amd/refusals", "bad input, through the real service"),
        ("amd/blocked-msix", "pairs that were not given reach nobody"),
        ("amd/killed", "pvir is killed in a storm"),
    ],
    run: |names| run(Iommu::Amd, 2, "", names),
};

pub(super) const OFF: Batch = Batch {
    cases: &[("off/no-iommu", "a host without an IOMMU is refused")],
    run: |names| run(Iommu::Off, 2, "", names),
};

pub(super) const NO_REMAP: Batch = Batch {
    cases: &[("intel-no-remap/no-remapping", "a host without interrupt remapping is refused")],
    run: |names| run(Iommu::IntelNoRemap, 2, "", names),
};

pub(super) const NO_SOURCE_ID: Batch = Batch {
    cases: &[("nosid/no-source-id", "a host that does not check source ids is refused")],
    run: |names| run(Iommu::Intel, 2, "intremap=nosid", names),
};

fn run(iommu: Iommu, cpus: u16, append: &str, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    findings(&Options { iommu, cpus, devices, append: append.into(), ..Options::default() }, names)
}
