//! The FADT: what the machine has not, and how it is switched off and reset.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::{OEM, OEM_REVISION, OEM_TABLE};
use crate::vm::layout;

/// IAPC_BOOT_ARCH: no VGA, no CMOS clock, and (by a bit that is not set) no keyboard controller.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;

pub(super) fn table(dsdt: u64) -> FADT {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::ResetRegSup)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = port(layout::RESET_PORT);
    fadt.reset_value = layout::RESET_VALUE;
    fadt.sleep_control_reg = port(layout::SLEEP_CONTROL);
    fadt.sleep_status_reg = port(layout::SLEEP_STATUS);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(*b"PVIR\0\0\0\0").into();
    fadt.finalize()
}

fn port(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use acpi_tables::Aml;

    #[test]
    fn registers_are_byte_wide_ports_at_the_offsets_of_the_specification() {
        let mut bytes = Vec::new();
        table(0xe_0030).to_aml_bytes(&mut bytes);
        let gas =
            |at: usize| (bytes[at..at + 4].to_vec(), u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        let port = |port| (vec![1, 8, 0, 1], port);
        assert_eq!((gas(116), bytes[128]), (port(0xcf9), 6));
        assert_eq!((gas(244), gas(256)), (port(0x600), port(0x601)));
        assert_eq!(bytes[112..116], [1, 4, 0x10, 0]);
        assert_eq!(bytes[109..111], [0x24, 0]);
    }
}
