//! The rows. A test that is renamed or dropped fails a test here.

use super::Cell::{self, By, Not};
use super::Row;

pub(super) const COLUMNS: [&str; 3] = ["Intel IR, VFIO", "AMD-Vi, VFIO", "emulated device, any KVM"];

const fn row(what: &'static str, cells: [Cell; 3]) -> Row {
    Row { what, cells }
}

pub(super) const ROWS: &[Row] = &[
    row(
        "MSI-X: map, program, mask, retarget, park, unmap; none lost",
        [By(&["intel/storm"]), By(&["amd/storm"]), By(&["kvm/direct-msr", "kvm/direct-port"])],
    ),
    row(
        "MSI-X: entries come and go one by one while others run",
        [By(&["intel/dynamic"]), By(&["amd/dynamic"]), By(&["kvm/dynamic"])],
    ),
    row(
        "MSI-X without dynamic entries (NORESIZE)",
        [
            Not("no such device or kernel here; unit tests of `host/src/vfio/vectors.rs`"),
            Not("as for Intel"),
            Not("entries always come one by one"),
        ],
    ),
    row(
        "MSI, one message",
        [By(&["intel/blocked-msi", "intel/several"]), By(&["amd/several"]), By(&["kvm/emulated-msi"])],
    ),
    row(
        "MSI, 2^k messages, all delivered",
        [By(&["intel/multi"]), By(&["amd/multi"]), By(&["kvm/emulated-msi"])],
    ),
    row(
        "IMS: from a place that the host never programmed (transmit queues of `igb`)",
        [
            By(&["intel/ims"]),
            Not("QEMU's AMD-Vi takes a device's plain writes for the I/O APIC's"),
            Not("its place is the guest's RAM"),
        ],
    ),
    row(
        "IMS: in a spare entry of the table",
        [By(&["intel/ims-table"]), By(&["amd/ims-table"]), Not("has IMS of its own")],
    ),
    row(
        "IMS: in the guest's RAM",
        [Not("no such device in QEMU"), Not("no such device in QEMU"), By(&["kvm/emulated-ims"])],
    ),
    row(
        "routing: fixed, physical; APIC ids above 255, sparse",
        [By(&["intel/apic300"]), By(&["amd/apic300"]), By(&["kvm/apic300", "kvm/scale"])],
    ),
    row(
        "routing: logical, lowest priority, redirection hint",
        [
            By(&["intel/routings"]),
            Not("the same code as for Intel: only KVM sees routings"),
            By(&["kvm/routings"]),
        ],
    ),
    row(
        "bad input is refused, each with its status",
        [By(&["intel/refusals"]), By(&["amd/refusals"]), By(&["kvm/refusals-msr", "kvm/refusals-port"])],
    ),
    row(
        "pair = table entry = IRTE, read from outside",
        [By(&["intel/pairs"]), By(&["amd/pairs"]), Not("there is no hardware's table")],
    ),
    row(
        "absent, stale and foreign pairs reach nobody",
        [
            By(&["intel/blocked-msix", "intel/blocked-msi", "intel/attack-across"]),
            By(&["amd/blocked-msix"]),
            By(&["kvm/blocked-msr", "kvm/blocked-port"]),
        ],
    ),
    row(
        "exits and ioctls of each step, by pvir and by KVM",
        [By(&["intel/counts"]), By(&["amd/counts"]), By(&["kvm/counts"])],
    ),
    row(
        "trapped tables, then ENABLE over live interrupts, then trapped again",
        [By(&["intel/trapped"]), By(&["amd/trapped"]), By(&["kvm/trapped"])],
    ),
    row(
        "an unaware Linux, its interrupts on the CPU that was asked for",
        [
            By(&["intel/linux", "intel/linux-apic300", "intel/linux-accesses"]),
            By(&["amd/linux"]),
            Not("Linux has no driver for it"),
        ],
    ),
    row(
        "several devices in one call, virtual functions, two VMs at once",
        [
            By(&["intel/several", "intel/sriov", "intel/two-vms", "intel/group"]),
            By(&["amd/several", "amd/sriov", "amd/two-vms"]),
            By(&["kvm/several"]),
        ],
    ),
    row(
        "quotas; limits of GSIs, the first device unharmed",
        [
            By(&["intel/quotas"]),
            Not("as for Intel: only the service sees quotas"),
            By(&["kvm/quotas", "kvm/limits"]),
        ],
    ),
    row(
        "each conduit, and what a call costs",
        [
            By(&["intel/conduits", "intel/conduit-vmmcall", "intel/conduit-msr", "intel/conduit-port"]),
            Not("as for Intel: VMMCALL is every other AMD case's"),
            By(&["kvm/conduits"]),
        ],
    ),
    row(
        "every statement of the contract that a guest can observe",
        [By(&["intel/conformance"]), By(&["amd/conformance"]), By(&["kvm/conformance", "kvm/wrong-hosts"])],
    ),
    row(
        "a host that does not isolate is refused",
        [
            By(&[
                "intel-no-remap/no-remapping",
                "intremap-off/remapping-switched-off",
                "nosid/no-source-id",
                "acs/acs-override",
                "intel/unsafe-interrupts",
                "intel/shared-group",
                "bridge/behind-bridge",
                "off/no-iommu",
            ]),
            By(&["amd-intremap-off/remapping-switched-off"]),
            Not("isolated by construction"),
        ],
    ),
    row(
        "posted interrupts",
        [
            Not("no such hardware here; the order that they need is kept"),
            Not("as for Intel"),
            Not("do not apply"),
        ],
    ),
];
