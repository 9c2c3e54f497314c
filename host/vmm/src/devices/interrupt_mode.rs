//! Who programs the interrupts of the guest's devices.

use clap::ValueEnum;

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
