//! Who programs the interrupts of the guest's devices.

use clap::ValueEnum;

/// How the interrupts of a VM's devices are programmed, and how the host's part of that is found out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupts {
    pub(crate) mode: InterruptMode,
    /// The number of VFIO's feature by which the kernel returns a device's messages; they are read from the device
    /// without it.
    pub(crate) message_feature: Option<u16>,
}

/// `--mode`: how the guest's interrupts are programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterruptMode {
    /// Offer pvir, and do not start where the host cannot isolate each device
    Direct,
    /// Trap everything: the guest is not offered pvir, and nothing is asked of the host but what VFIO asks
    Trap,
    /// Offer pvir; trap until the guest enables it, and for good where the host cannot isolate each device
    Auto,
}
