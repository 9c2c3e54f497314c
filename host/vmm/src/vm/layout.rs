//! Where everything is in the guest's physical address space and in its ports.

use super::memory::GuestRange;

/// PVH start info; its modules and memory map follow in the same two pages.
pub(crate) const START_INFO: u64 = 0x6000;
pub(crate) const MODULES: u64 = 0x6100;
pub(crate) const MEMORY_MAP: u64 = 0x7000;
/// The kernel's command line, and the room for it.
pub(crate) const COMMAND_LINE: u64 = 0x2_0000;
pub(crate) const COMMAND_LINE_SIZE: u64 = 0x1_0000;
/// Conventional memory ends here; up to 1 MiB is reserved as on every PC.
pub(crate) const LOW_RAM_END: u64 = 0x9_fc00;
/// The RSDP, where a scan finds it too; the other ACPI tables follow.
pub(crate) const ACPI: u64 = 0xe_0000;
/// Where a CPU goes in real mode to have the machine reset: 16 bytes below 1 MiB.
pub(crate) const RESET_VECTOR: u64 = 0xf_fff0;
pub(crate) const HIGH_RAM: u64 = 0x10_0000;

/// RAM ends here at the latest and goes on above 4 GiB.
pub(crate) const HOLE_START: u64 = 0xc000_0000;
pub(crate) const FOUR_GIB: u64 = 0x1_0000_0000;
/// BARs below 4 GiB; above it are the places of the I/O APIC and of the local APICs.
pub(crate) const MMIO32: std::ops::Range<u64> = HOLE_START..0xfec0_0000;
/// Registers of the I/O APIC.
pub(crate) const IO_APIC: std::ops::Range<u64> = 0xfec0_0000..0xfec0_1000;
/// Messages to and registers of the local APICs: no BAR may cover them.
pub(crate) const LAPIC: std::ops::Range<u64> = 0xfee0_0000..0xfef0_0000;
/// Ports for I/O BARs.
pub(crate) const PORTS: std::ops::Range<u64> = 0xc000..0x1_0000;
/// Where the window for large 64-bit BARs starts, in a machine with this RAM.
pub(crate) fn above_ram(ram: &[GuestRange]) -> u64 {
    let above = ram.iter().map(GuestRange::end).max().unwrap_or(0).max(FOUR_GIB);
    above.next_multiple_of(1 << 30)
}

pub(crate) const COM1: u16 = 0x3f8;
/// The pin of the I/O APIC that COM1 is at, as on every PC.
pub(crate) const COM1_PIN: u8 = 4;
/// ACPI's sleep registers, where Cloud Hypervisor has the first, and the type of sleep that switches the machine off.
pub(crate) const SLEEP_CONTROL: u16 = 0x600;
pub(crate) const SLEEP_STATUS: u16 = 0x601;
pub(crate) const SLEEP_TYPE_OFF: u8 = 5;
/// What has come to the PCI bus, what is to go, and what the guest lets go: registers of 32 bits beside the sleep registers.
pub(crate) const HOTPLUG_UP: u16 = 0x608;
pub(crate) const HOTPLUG_DOWN: u16 = 0x60c;
pub(crate) const HOTPLUG_EJECT: u16 = 0x610;
/// The pin of the I/O APIC that tells of them.
pub(crate) const HOTPLUG_PIN: u8 = 5;
/// The paravirtual console, beside the port of the conduit: the number of its page and its signature, and the length of
/// what is put out.
pub(crate) const CONSOLE_PAGE_PORT: u16 = 0x505c;
pub(crate) const CONSOLE_LENGTH_PORT: u16 = 0x5060;
pub(crate) const EXIT_PORT: u16 = 0xf4;
pub(crate) const RESET_PORT: u16 = 0xcf9;
/// What to write to the reset port for a full reset.
pub(crate) const RESET_VALUE: u8 = 6;
pub(crate) const KEYBOARD_PORT: u16 = 0x64;
pub(crate) const PCI_ADDRESS: u16 = 0xcf8;
pub(crate) const PCI_DATA: u16 = 0xcfc;
