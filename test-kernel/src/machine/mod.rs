//! The machine that the kernel makes of what the VMM gives it: nothing in here knows of pvir, but for the names of devices.

pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod devices;
pub(crate) mod exit;
pub(crate) mod hotplug;
pub(crate) mod memory;
pub(crate) mod panic;
pub(crate) mod pci;
