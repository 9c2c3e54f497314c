//! The ACPI tables of the machine: RSDP, XSDT, FADT, DSDT, MADT.
//!
//! "Advanced Configuration and Power Interface Specification, Version 6.5", sections 5.2.5 to 5.2.12. The machine is a
//! hardware-reduced one: no PM timer, no PIC, no fixed events; it is switched off by the sleep control register and reset
//! by the reset register.

mod dsdt;
mod fadt;
mod hotplug;
mod madt;

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;

use crate::vm::memory::GuestRange;

const OEM: [u8; 6] = *b"PVIR  ";
const OEM_TABLE: [u8; 8] = *b"PVIRVMM ";
const OEM_REVISION: u32 = 1;

/// Size of the header of every table but the RSDP.
const HEADER_SIZE: u32 = 36;

/// All tables as they are in memory from `address` (the RSDP's) on. `high_window` is where 64-bit BARs can be above
/// RAM.
pub(crate) fn build(address: u64, apic_ids: &[u32], high_window: Option<GuestRange>) -> Vec<u8> {
    let mut bytes = vec![0; Rsdp::len()];
    let mut append = |table: &dyn Aml| {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let at = address + bytes.len() as u64;
        table.to_aml_bytes(&mut bytes);
        at
    };
    let dsdt = append(&dsdt::table(high_window));
    let fadt = append(&fadt::table(dsdt));
    let madt = append(&madt::table(apic_ids));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = append(&xsdt);
    let mut rsdp = Vec::with_capacity(Rsdp::len());
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    bytes[..Rsdp::len()].copy_from_slice(&rsdp);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::layout;

    const BASE: u64 = 0xe_0000;
    const HEADER: usize = HEADER_SIZE as usize;
    const WINDOW: Option<GuestRange> = Some(GuestRange { start: 1 << 32, size: 1 << 36 });

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// The table at a guest address, its length taken from its header and its sum checked.
    fn table_at(bytes: &[u8], address: u64) -> &[u8] {
        let start = usize::try_from(address - BASE).unwrap();
        let length = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap());
        let table = &bytes[start..start + usize::try_from(length).unwrap()];
        assert_eq!(sum(table), 0);
        table
    }

    #[test]
    fn every_table_is_found_from_the_rsdp_with_a_right_checksum() {
        let bytes = build(BASE, &[0, 300], WINDOW);
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!((sum(&bytes[..20]), sum(&bytes[..36])), (0, 0));
        let xsdt = table_at(&bytes, u64_at(&bytes, 24));
        let fadt = table_at(&bytes, u64_at(xsdt, HEADER));
        let madt = table_at(&bytes, u64_at(xsdt, HEADER + 8));
        assert_eq!((&fadt[..4], fadt.len(), &madt[..4]), (&b"FACP"[..], 276, &b"APIC"[..]));
        assert_eq!(&table_at(&bytes, u64_at(fadt, 140))[..4], b"DSDT");
    }

    #[test]
    fn tables_of_the_largest_machine_fit_below_the_reset_vector() {
        let ids: Vec<u32> = (0..4096).collect();
        assert!(BASE + build(BASE, &ids, WINDOW).len() as u64 <= layout::RESET_VECTOR);
    }
}
