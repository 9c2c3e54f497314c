//! The registers by which this machine's PCI devices come and go (`docs/plugging.md`), read without ACPI.

#![expect(unsafe_code, reason = "port input and output")]

use x86_64::instructions::port::Port;

const UP: u16 = 0x608;
const DOWN: u16 = 0x60c;
const EJECT: u16 = 0x610;
/// The bit of UP that says that a device has gone unasked.
pub(crate) const LOOK: u32 = 1;

/// Devices that have come since the last time, by their numbers on the bus, and [`LOOK`].
pub(crate) fn up() -> u32 {
    // SAFETY: reading the register clears it and has no other effect. Elsewhere nothing is there.
    unsafe { Port::<u32>::new(UP).read() }
}

/// Devices that are to go, asked for since the last time.
pub(crate) fn down() -> u32 {
    // SAFETY: as above.
    unsafe { Port::<u32>::new(DOWN).read() }
}

/// Lets devices go.
pub(crate) fn eject(devices: u32) {
    // SAFETY: what goes is a device on the bus, as asked for.
    unsafe { Port::<u32>::new(EJECT).write(devices) };
}
