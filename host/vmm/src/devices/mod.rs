//! Devices: those of the machine itself, and those on its PCI bus.

pub(crate) mod attach;
pub(crate) mod console_input;
pub(crate) mod departures;
mod host_devices;
pub(crate) mod host_files;
pub(crate) mod interrupt_mode;
pub(crate) mod io_apic;
pub(crate) mod keys;
pub(crate) mod line_console;
pub(crate) mod notices;
mod reset_watch;
pub(crate) mod scratch;
pub(crate) mod serial;
pub(crate) mod terminal;
pub(crate) mod vfio_way;
