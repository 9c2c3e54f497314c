//! The product's cases in the lab, one machine for each kind of host.

use anyhow::Result;

use super::driver::findings;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding};

/// CPUs of L1 for guests of several vCPUs that call, map and unmap all the time: with two of them QEMU's emulation of SVM
/// loses such a guest, or all of L1, in one of some fifteen runs, and with one it never did (docs/lab-notes.md).
pub(super) const ONE_CPU: u16 = 1;

/// Devices 0 to 4: two of several vectors, one of a single MSI between them, and two functions that share a group.
pub(super) const DEVICES: [&str; 5] =
    ["igb", "edu", "igb", "edu,multifunction=on,addr=0x10.0", "edu,addr=0x10.1"];

/// The host's own interrupts move from one of its CPUs to another.
pub(super) const INTEL_MOVES: Batch = Batch {
    cases: &[(
        "intel/pairs",
        "pair, table and IRTE agree, before and after the guest's and the host's moves",
    )],
    run: |names| run(Iommu::Intel, 2, "", names),
};

pub(super) const INTEL: Batch = Batch {
    cases: &[
        (
            "intel/routes",
            "`pvir routes` on a VM that runs, against the kernel's own tables; it costs the VM nothing",
        ),
        ("intel/blocked-msix", "pairs that were not given, and another NIC's, reach nobody and are logged"),
        ("intel/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("intel/apic300", "a vCPU with APIC id 300 gets its interrupts"),
        ("intel/refusals", "bad input, through the real service"),
        ("intel/conformance", "every statement of the contract, on igb and edu"),
        ("intel/events", "pairs go stale and a busy device is cut off: the recovery loses nothing"),
        (
            "intel/hostile",
            "50,000 calls at random of two vCPUs, devices and blocks scribbled over: nothing is left",
        ),
        (
            "intel/attach",
            "a busy device is taken late and given back: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        (
            "intel/sessions",
            "DISABLE and ENABLE under traffic: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        ("intel/resets", "function level resets by the guest: entries stay mapped and come back masked"),
        ("intel/reset-by-host", "the host's administrator resets the device: the guest is told"),
        ("intel/decode", "memory decode toggled 1,000 times by one vCPU while another maps and unmaps"),
        (
            "intel/storm-limit",
            "a device above its limit is cut off, trapped too; it serves again after the guest's reset or by word",
        ),
        ("intel/conduit-port", "all calls by port"),
        ("intel/conduit-msr", "all calls by MSR"),
        ("intel/conduit-vmmcall", "all calls by VMMCALL"),
        ("intel/trapped", "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again"),
        ("intel/trap-mode", "nothing is offered, every access to the table is an exit"),
        ("intel/conduits", "exits and ioctls of a call by each conduit; KVM's own hypercalls are hidden"),
        ("intel/several", "four devices in one call: interrupts of all, none mixed"),
        ("intel/group", "both functions of an IOMMU group"),
        ("intel/quotas", "the quotas of a VM and of a device, run into"),
        ("intel/used-again", "a device is used three times in a row"),
        ("intel/killed", "pvir is killed in a storm"),
        ("intel/wanted-back", "the host unbinds a device in use: it is taken from the VM, which goes on"),
        (
            "intel/saves",
            "saved under traffic and restored with this and another igb: found reset, the guest told, none lost or twice",
        ),
        (
            "intel/reboots",
            "a guest resets its machine under traffic: the device is reset, each boot is as the first, nothing leaks",
        ),
        (
            "intel/reboots-plugged",
            "a guest resets its machine after a card came, and while it is to go: it is reset, and then the host's again",
        ),
        (
            "intel/plug",
            "a card of the host is plugged and unplugged beside a busy device: each works, none lost, nothing left; refusals",
        ),
        ("intel/no-such-device", "refused"),
        ("intel/no-driver", "refused"),
        ("intel/other-driver", "refused"),
        ("intel/shared-group", "refused"),
        ("intel/unsafe-interrupts", "refused by --mode direct, trapped by default"),
        ("intel/blocked-msi", "pairs that were not given, and an MSI device's, reach nobody and are logged"),
    ],
    run: |names| run(Iommu::Intel, ONE_CPU, "", names),
};

/// What two VMs at once need of L1: QEMU's emulation of nested paging sometimes walks L1's own page tables through those
/// of a guest after an exit, if another CPU runs a guest too, and that guest or all of L1 dies of it
/// (docs/lab-notes.md). With KVM's shadow paging one guest in some twenty rounds still died, so L1 has one CPU as well.
pub(super) const NO_NESTED_PAGING: &str = "kvm_amd.npt=0";

pub(super) const INTEL_TWO: Batch = Batch {
    cases: &[
        ("intel/two-vms", "two VMs at once, a device each"),
        ("intel/attack-across", "a live pair of another VM reaches nobody and is logged"),
    ],
    run: |names| run(Iommu::Intel, 1, NO_NESTED_PAGING, names),
};

pub(super) const AMD_TWO: Batch = Batch {
    cases: &[("amd/two-vms", "two VMs at once, a device each")],
    run: |names| run(Iommu::Amd, 1, NO_NESTED_PAGING, names),
};

pub(super) const INTEL_SRIOV: Batch = Batch {
    cases: &[
        ("intel/sriov", "virtual functions, several in one VM and one in each of two VMs"),
        ("intel/failed-device", "an uncorrectable error of a device in use: pvir says so and ends"),
    ],
    run: |names| sriov(Iommu::Intel, names),
};

/// Devices that raise twice, and devices that the test kernel has no driver for.
pub(super) const INTEL_OTHERS: Batch = Batch {
    cases: &[(
        "intel/conformance-others",
        "every statement that can be judged, on e1000e, vmxnet3, megasas and nvme, each alone",
    )],
    run: |names| {
        let devices = ["e1000e", "vmxnet3", "megasas-gen2", "nvme,serial=pvir"].map(String::from).to_vec();
        findings(&Options { cpus: ONE_CPU, devices, ..Options::default() }, names)
    },
};

/// More entries than one CPU has vectors, and a device beside them.
pub(super) const INTEL_VECTORS: Batch = Batch {
    cases: &[(
        "intel/host-vectors",
        "the host's vectors run out: some entries are granted, the rest is refused, and all comes back",
    )],
    run: |names| vectors(Iommu::Intel, names),
};

pub(super) const AMD_VECTORS: Batch = Batch {
    cases: &[(
        "amd/host-vectors",
        "the host's vectors run out: some entries are granted, the rest is refused, and all comes back",
    )],
    run: |names| vectors(Iommu::Amd, names),
};

pub(super) const AMD_SRIOV: Batch = Batch {
    cases: &[
        ("amd/sriov", "virtual functions, several in one VM and one in each of two VMs"),
        ("amd/failed-device", "an uncorrectable error of a device in use: pvir says so and ends"),
    ],
    run: |names| sriov(Iommu::Amd, names),
};

/// The host's own interrupts move from one of its CPUs to another.
pub(super) const AMD_MOVES: Batch = Batch {
    cases: &[("amd/pairs", "pair and table agree, before and after the guest's and the host's moves")],
    run: |names| run(Iommu::Amd, 2, "", names),
};

pub(super) const AMD: Batch = Batch {
    cases: &[
        (
            "amd/routes",
            "`pvir routes` on a VM that runs, against the kernel's own tables; it costs the VM nothing",
        ),
        ("amd/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("amd/apic300", "a vCPU with APIC id 300 gets its interrupts"),
        ("amd/refusals", "bad input, through the real service"),
        ("amd/conformance", "every statement of the contract, on igb and edu"),
        ("amd/events", "pairs go stale and a busy device is cut off: the recovery loses nothing"),
        (
            "amd/hostile",
            "50,000 calls at random of two vCPUs, devices and blocks scribbled over: nothing is left",
        ),
        (
            "amd/attach",
            "a busy device is taken late and given back: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        (
            "amd/sessions",
            "DISABLE and ENABLE under traffic: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        ("amd/resets", "function level resets by the guest: entries stay mapped and come back masked"),
        (
            "amd/storm-limit",
            "a device above its limit is cut off, trapped too; it serves again after the guest's reset or by word",
        ),
        ("amd/blocked-msix", "pairs that were not given reach nobody"),
        ("amd/trapped", "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again"),
        ("amd/trap-mode", "nothing is offered, every access to the table is an exit"),
        ("amd/several", "four devices in one call: interrupts of all, none mixed"),
        ("amd/killed", "pvir is killed in a storm"),
        (
            "amd/saves",
            "saved under traffic and restored with this and another igb: found reset, the guest told, none lost or twice",
        ),
        (
            "amd/reboots",
            "a guest resets its machine under traffic: the device is reset, each boot is as the first, nothing leaks",
        ),
        (
            "amd/reboots-plugged",
            "a guest resets its machine after a card came, and while it is to go: it is reset, and then the host's again",
        ),
        (
            "amd/plug",
            "a card of the host is plugged and unplugged beside a busy device: each works, none lost, nothing left; refusals",
        ),
        ("amd/wanted-back", "the host unbinds a device in use: it is taken from the VM, which goes on"),
    ],
    run: |names| run(Iommu::Amd, ONE_CPU, "", names),
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
    cases: &[(
        "nosid/no-source-id",
        "a host that does not check source ids is refused by --mode direct, trapped by default",
    )],
    run: |names| run(Iommu::Intel, 2, "intremap=nosid", names),
};

fn run(iommu: Iommu, cpus: u16, append: &str, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    findings(&Options { iommu, cpus, devices, append: append.into(), ..Options::default() }, names)
}

fn vectors(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = ["nvme,serial=pvir,msix_qsize=2048", "igb"].map(String::from).to_vec();
    findings(&Options { iommu, cpus: 1, devices, ..Options::default() }, names)
}

/// A NIC behind a port of its own, as its virtual functions are on a bus.
fn sriov(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let port = "pcie-root-port,id=pvir-port,chassis=1,slot=1";
    let options = Options {
        iommu,
        cpus: 1,
        devices: vec!["igb,bus=pvir-port".into()],
        append: NO_NESTED_PAGING.into(),
        qemu: ["-device", port].map(Into::into).to_vec(),
        ..Options::default()
    };
    findings(&options, names)
}
