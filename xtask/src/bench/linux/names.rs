//! What the kernel's numbers mean.

/// Exits to user space (`linux/kvm.h`, Linux 6.12, `KVM_EXIT_*`).
pub(super) fn of_user(reason: u64) -> String {
    let name = match reason {
        IO => "port",
        5 => "halt",
        MMIO => "mmio",
        7 => "interrupt window",
        8 => "shutdown",
        10 => "signal",
        RDMSR => "rdmsr",
        WRMSR => "wrmsr",
        26 => "end of interrupt",
        XEN => "hypercall",
        _ => return format!("reason {reason}"),
    };
    name.to_owned()
}

pub(super) const IO: u64 = 2;
pub(super) const MMIO: u64 = 6;
pub(super) const RDMSR: u64 = 29;
pub(super) const WRMSR: u64 = 30;
pub(super) const XEN: u64 = 34;

/// Exits of the processor, which is one of AMD in the lab (AMD64 Architecture Programmer's Manual, volume 2, revision 3.42,
/// appendix C "SVM Intercept Exit Codes").
pub(super) fn of_processor(code: u64) -> String {
    let name = match code {
        0x00..=0x1f => "control register",
        0x4e => "page fault",
        0x40..=0x5f => "exception",
        0x60 => "host interrupt",
        0x61..=0x63 => "nmi, smi, init",
        0x64 => "interrupt window",
        0x72 => "cpuid",
        0x77 => "pause",
        0x78 => "halt",
        0x79 => "invlpg",
        0x7b => "port",
        0x7c => "msr",
        0x81 => "hypercall",
        0x89 => "wbinvd",
        0x8d => "xsetbv",
        0x400 => "nested page fault",
        _ => return format!("code {code:#x}"),
    };
    name.to_owned()
}

/// Ioctls of VMMs (`linux/kvm.h` and `linux/vfio.h`, Linux 6.12). The first three are what interrupts of devices take.
pub(super) fn of_ioctl(number: u64) -> String {
    let name = match number {
        0x4008_ae6a => "SET_GSI_ROUTING",
        0x4020_ae76 => "IRQFD",
        0x3b6e => "SET_IRQS",
        0xae80 => "RUN",
        0xae03 => "CHECK_EXTENSION",
        0x4020_aea5 => "SIGNAL_MSI",
        0xc008_ae67 | 0x4008_ae61 => "IRQ_LINE",
        0x4040_ae79 => "IOEVENTFD",
        0x3b72 => "IOMMU_UNMAP_DMA",
        0x3b71 => "IOMMU_MAP_DMA",
        0x4020_ae46 => "SET_USER_MEMORY_REGION",
        _ => return format!("{number:#x}"),
    };
    name.to_owned()
}

/// Names of ioctls for interrupts of devices.
pub(super) const FOR_INTERRUPTS: [&str; 3] = ["SET_GSI_ROUTING", "IRQFD", "SET_IRQS"];
/// What runs a virtual CPU.
pub(super) const RUN: &str = "RUN";
