//! The ACPI tables that a kernel needs to find its CPUs: RSDP, XSDT, FADT with an empty DSDT, MADT.
//!
//! "Advanced Configuration and Power Interface Specification, Version 6.5", sections 5.2.5 to 5.2.12. The machine is a
//! hardware-reduced one (no PM timer, no fixed events), whose reset register is port 0xcf9.

use super::layout;

const OEM: &[u8; 6] = b"PVIR  ";
const OEM_TABLE: &[u8; 8] = b"PVIRVMM ";
const HEADER: usize = 36;

/// FADT flags: WBINVD, RESET_REG_SUP, HW_REDUCED_ACPI.
const FADT_FLAGS: u32 = 1 | 1 << 10 | 1 << 20;
/// FADT IAPC_BOOT_ARCH: no VGA, no CMOS clock.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;
/// What to write to the reset register for a full reset.
const RESET_VALUE: u8 = 6;

/// APIC ids from here on need the x2APIC form of an entry.
const X2APIC_FROM: u32 = 255;

/// All tables as they are in memory from `address` (the RSDP's) on.
pub(crate) fn build(address: u64, apic_ids: &[u32]) -> Vec<u8> {
    const RSDP_SIZE: u64 = 36;
    let mut bytes = vec![0; to_usize(RSDP_SIZE)];
    let mut place = |table: &[u8]| {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let at = address + bytes.len() as u64;
        bytes.extend_from_slice(table);
        at
    };
    let dsdt = place(&table(b"DSDT", 2, &[]));
    let fadt = place(&table(b"FACP", 6, &fadt_body(dsdt)));
    let madt = place(&table(b"APIC", 5, &madt_body(apic_ids)));
    let entries: Vec<u8> = [fadt, madt].iter().flat_map(|address| address.to_le_bytes()).collect();
    let xsdt = place(&table(b"XSDT", 1, &entries));
    bytes[..to_usize(RSDP_SIZE)].copy_from_slice(&rsdp(xsdt));
    bytes
}

fn rsdp(xsdt: u64) -> [u8; 36] {
    let mut rsdp = [0; 36];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(OEM);
    rsdp[15] = 2;
    rsdp[20..24].copy_from_slice(&36_u32.to_le_bytes());
    rsdp[24..32].copy_from_slice(&xsdt.to_le_bytes());
    // The first checksum covers the 20 bytes of ACPI 1.0.
    rsdp[8] = checksum(&rsdp[..20]);
    rsdp[32] = checksum(&rsdp);
    rsdp
}

fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut table = Vec::with_capacity(HEADER + body.len());
    table.extend_from_slice(signature);
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&[revision, 0]);
    table.extend_from_slice(OEM);
    table.extend_from_slice(OEM_TABLE);
    table.extend_from_slice(&1_u32.to_le_bytes());
    table.extend_from_slice(b"PVIR");
    table.extend_from_slice(&1_u32.to_le_bytes());
    table.extend_from_slice(body);
    table[9] = checksum(&table);
    table
}

fn fadt_body(dsdt: u64) -> Vec<u8> {
    const LENGTH: usize = 276;
    let mut fadt = [0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| fadt[at..at + bytes.len()].copy_from_slice(bytes);
    // The same table by its 32-bit field, for old parsers.
    put(40, &dsdt.to_le_bytes()[..4]);
    put(109, &BOOT_ARCHITECTURE.to_le_bytes());
    put(112, &FADT_FLAGS.to_le_bytes());
    // RESET_REG: system I/O space, 8 bits wide, byte access.
    put(116, &[1, 8, 0, 1]);
    put(120, &u64::from(layout::RESET_PORT).to_le_bytes());
    put(128, &[RESET_VALUE]);
    // Minor version of the specification.
    put(131, &[5]);
    put(140, &dsdt.to_le_bytes());
    put(268, b"PVIR\0\0\0\0");
    fadt[HEADER..].to_vec()
}

/// Local APIC entries (type 0), and x2APIC entries (type 9) where an id does not fit the former. No I/O APIC.
fn madt_body(apic_ids: &[u32]) -> Vec<u8> {
    let lapic = u32::try_from(layout::LAPIC.start).unwrap_or(0);
    let mut body = Vec::with_capacity(8 + 16 * apic_ids.len());
    body.extend_from_slice(&lapic.to_le_bytes());
    body.extend_from_slice(&0_u32.to_le_bytes());
    for id in apic_ids {
        match u8::try_from(*id) {
            Ok(short) if *id < X2APIC_FROM => {
                // type, length, processor uid, APIC id, flags: enabled
                body.extend_from_slice(&[0, 8, short, short, 1, 0, 0, 0]);
            }
            _ => {
                body.extend_from_slice(&[9, 16, 0, 0]);
                for field in [*id, 1, *id] {
                    body.extend_from_slice(&field.to_le_bytes());
                }
            }
        }
    }
    body
}

/// The byte that makes the sum zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xe_0000;

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// The table at a guest address, its length taken from its header and its sum checked.
    fn table_at(bytes: &[u8], address: u64) -> &[u8] {
        let start = usize::try_from(address - BASE).unwrap();
        let length = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap());
        let table = &bytes[start..start + usize::try_from(length).unwrap()];
        assert_eq!(checksum(table), 0);
        table
    }

    #[test]
    fn madt_bytes_for_a_narrow_and_a_wide_apic_id() {
        #[rustfmt::skip]
        let expected = [
            0x00, 0x00, 0xe0, 0xfe, 0, 0, 0, 0,
            0, 8, 7, 7, 1, 0, 0, 0,
            9, 16, 0, 0, 0x2c, 0x01, 0, 0, 1, 0, 0, 0, 0x2c, 0x01, 0, 0,
        ];
        assert_eq!(madt_body(&[7, 300]), expected);
    }

    #[test]
    fn id_255_is_broadcast_in_the_short_form_and_so_gets_the_long_one() {
        assert_eq!(madt_body(&[254])[8], 0);
        assert_eq!(madt_body(&[255])[8], 9);
    }

    #[test]
    fn every_table_is_found_from_the_rsdp_with_a_right_checksum() {
        let bytes = build(BASE, &[0, 300]);
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!((checksum(&bytes[..20]), checksum(&bytes[..36])), (0, 0));
        let xsdt = table_at(&bytes, u64_at(&bytes, 24));
        let fadt = table_at(&bytes, u64_at(xsdt, 36));
        let madt = table_at(&bytes, u64_at(xsdt, 44));
        assert_eq!((&fadt[..4], fadt.len(), &madt[..4]), (&b"FACP"[..], 276, &b"APIC"[..]));
        assert_eq!(&table_at(&bytes, u64_at(fadt, 140))[..4], b"DSDT");
    }

    #[test]
    fn tables_of_the_largest_machine_fit_below_one_mib() {
        let ids: Vec<u32> = (0..4096).collect();
        assert!(BASE + build(BASE, &ids).len() as u64 <= layout::HIGH_RAM);
    }
}
