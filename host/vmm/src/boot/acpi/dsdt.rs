//! The DSDT: the PCI root bridge with its windows and slots, COM1 with its interrupt, the device that tells what comes and
//! goes, and the value that switches the machine off.

use std::ops::Range as Addresses;

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Name, Package, ResourceTemplate,
    Scope, Zero,
};
use acpi_tables::sdt::Sdt;

use super::hotplug::{self, EventDevice, PciSlot};
use super::{HEADER_SIZE, OEM, OEM_REVISION, OEM_TABLE};
use crate::vm::layout;
use crate::vm::memory::GuestRange;

const REVISION: u8 = 2;
/// Size of COM1's, and of the PCI configuration mechanism's ports.
const EIGHT_PORTS: u8 = 8;

pub(super) fn table(high_window: Option<GuestRange>) -> Sdt {
    let high = high_window.map(|window| memory(&(window.start..window.end())));
    let windows = [
        &AddressSpace::new_bus_number(0_u16, 0) as &dyn Aml,
        &ports(layout::PCI_ADDRESS),
        &AddressSpace::new_io(layout::PORTS.start, layout::PORTS.end - 1, None),
        &memory(&layout::MMIO32),
    ];
    let windows = windows.into_iter().chain(high.iter().map(|window| window as &dyn Aml)).collect();
    let identity = [
        &Name::new("_HID".into(), &EISAName::new("PNP0A03")) as &dyn Aml,
        &Name::new("_UID".into(), &Zero {}),
        &Name::new("_BBN".into(), &Zero {}),
        &Name::new("_CRS".into(), &ResourceTemplate::new(windows)),
    ];
    let slots: Vec<PciSlot> = hotplug::SLOTS.map(PciSlot).collect();
    let pci = identity.into_iter().chain(slots.iter().map(|slot| slot as &dyn Aml)).collect();
    // No pin of the I/O APIC is level-triggered, and none is shared.
    let interrupt = Interrupt::new(true, true, false, false, layout::COM1_PIN.into());
    let com1 = [&ports(layout::COM1) as &dyn Aml, &interrupt];
    let com1 = [
        &Name::new("_HID".into(), &EISAName::new("PNP0501")) as &dyn Aml,
        &Name::new("_UID".into(), &Zero {}),
        &Name::new("_CRS".into(), &ResourceTemplate::new(com1.to_vec())),
    ];
    let devices = [
        &hotplug::Registers as &dyn Aml,
        &Device::new("PCI0".into(), pci),
        &Device::new("COM1".into(), com1.to_vec()),
        &EventDevice,
    ];
    let mut code = Vec::new();
    Scope::new("\\_SB_".into(), devices.to_vec()).to_aml_bytes(&mut code);
    Name::new("\\_S5_".into(), &Package::new(vec![&layout::SLEEP_TYPE_OFF])).to_aml_bytes(&mut code);

    let mut table = Sdt::new(*b"DSDT", HEADER_SIZE, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&code);
    table
}

fn ports(first: u16) -> IO {
    IO::new(first, first, 1, EIGHT_PORTS)
}

fn memory(window: &Addresses<u64>) -> AddressSpace<u64> {
    AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, window.start, window.end - 1, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        table(Some(GuestRange::new(4 << 30, 64 << 30))).as_slice().to_vec()
    }

    fn has(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    /// Address space descriptor with 64-bit fields ("ACPI Specification 6.5", section 6.4.3.5.1).
    fn qword(kind: u8, flags: u8, start: u64, end: u64) -> Vec<u8> {
        let mut descriptor = vec![0x8a, 43, 0, kind, 0x0c, flags];
        for field in [0, start, end - 1, 0, end - start] {
            descriptor.extend_from_slice(&field.to_le_bytes());
        }
        descriptor
    }

    #[test]
    fn root_bridge_has_its_bus_its_ports_and_both_windows() {
        let bytes = bytes();
        assert!(has(&bytes, &[0x41, 0xd0, 0x0a, 0x03]), "PNP0A03");
        assert!(has(&bytes, &[0x47, 1, 0xf8, 0x0c, 0xf8, 0x0c, 1, 8]), "the configuration ports");
        assert!(has(&bytes, &qword(1, 3, 0xc000, 0x1_0000)));
        assert!(has(&bytes, &qword(0, 1, 0xc000_0000, 0xfec0_0000)));
        assert!(has(&bytes, &qword(0, 1, 4 << 30, 68 << 30)));
    }

    #[test]
    fn com1_has_its_ports_and_an_edge_triggered_pin() {
        let bytes = bytes();
        assert!(has(&bytes, &[0x41, 0xd0, 0x05, 0x01]), "PNP0501");
        assert!(has(&bytes, &[0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8, 0x89, 6, 0, 3, 1, 4, 0, 0, 0]));
    }

    #[test]
    fn s5_is_the_value_that_the_sleep_port_takes() {
        assert!(bytes().ends_with(&[0x08, b'\\', b'_', b'S', b'5', b'_', 0x12, 4, 1, 0x0a, 5]));
    }
}
