//! Which CPUs exist: the path RSDP, RSDT or XSDT, MADT of the ACPI specification (6.5, sections 5.2.5 to
//! 5.2.12).
//!
//! The tables come from the hypervisor and are read through [`PhysicalMemory`] with every length bounded; a
//! table that is damaged is an error, never a wild read.

use core::fmt;

/// Access to guest-physical memory.
pub trait PhysicalMemory {
    /// Fills `into` from `address`; `false` when that is not readable memory.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;
}

/// What can be wrong with the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The address is no memory.
    Unreadable(u64),
    /// Another signature than the one expected stands at this address.
    Signature(u64),
    /// The sum of the bytes of this structure is not 0.
    Checksum(u64),
    /// The length field of the table at this address is too small or absurd.
    Length(u64),
    /// No MADT is listed.
    NoMadt,
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(at) => write!(f, "acpi: table at {at:#x} is not in memory"),
            Self::Signature(at) => write!(f, "acpi: wrong signature at {at:#x}"),
            Self::Checksum(at) => write!(f, "acpi: wrong checksum at {at:#x}"),
            Self::Length(at) => write!(f, "acpi: impossible length at {at:#x}"),
            Self::NoMadt => write!(f, "acpi: no MADT"),
        }
    }
}

impl core::error::Error for AcpiError {}

const HEADER: u64 = 36;
/// No table of interest is longer: 4,096 CPUs take 64 KiB.
const MAX_TABLE: u64 = 1 << 20;

/// Calls `each` with the APIC id of every enabled CPU of the MADT, in the order of the table.
///
/// # Errors
/// When a table on the way is damaged or missing; `each` may have been called before.
pub fn each_cpu(memory: &impl PhysicalMemory, rsdp: u64, mut each: impl FnMut(u32)) -> Result<(), AcpiError> {
    let madt = find_madt(memory, rsdp)?;
    let length = table_length(memory, madt)?;
    checksum(memory, madt, length)?;
    // Behind the header come the address of the local APIC and the flags, 4 bytes each.
    let mut offset = HEADER + 8;
    while offset + 2 <= length {
        let [kind, size] = bytes::<2>(memory, madt + offset)?;
        let size = u64::from(size);
        if size < 2 || offset + size > length {
            return Err(AcpiError::Length(madt + offset));
        }
        if let Some(id) = enabled_cpu(memory, madt + offset, kind, size)? {
            each(id);
        }
        offset += size;
    }
    Ok(())
}

/// The APIC id, if the MADT entry describes an enabled CPU.
fn enabled_cpu(memory: &impl PhysicalMemory, at: u64, kind: u8, size: u64) -> Result<Option<u32>, AcpiError> {
    const ENABLED: u8 = 1;
    match (kind, size) {
        // Processor Local APIC (5.2.12.2)
        (0, 8..) => {
            let entry = bytes::<8>(memory, at)?;
            Ok((entry[4] & ENABLED != 0 && entry[3] != 0xff).then_some(u32::from(entry[3])))
        }
        // Processor Local x2APIC (5.2.12.12)
        (9, 16..) => {
            let entry = bytes::<16>(memory, at)?;
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            Ok((entry[8] & ENABLED != 0).then_some(id))
        }
        _ => Ok(None),
    }
}

fn find_madt(memory: &impl PhysicalMemory, rsdp: u64) -> Result<u64, AcpiError> {
    let first = bytes::<20>(memory, rsdp)?;
    if &first[..8] != b"RSD PTR " {
        return Err(AcpiError::Signature(rsdp));
    }
    checksum(memory, rsdp, 20)?;
    let (root, signature, width) = if first[15] >= 2 {
        checksum(memory, rsdp, 36)?;
        (u64::from_le_bytes(bytes(memory, rsdp + 24)?), b"XSDT", 8)
    } else {
        let rsdt = u32::from_le_bytes([first[16], first[17], first[18], first[19]]);
        (u64::from(rsdt), b"RSDT", 4)
    };
    if bytes::<4>(memory, root)? != *signature {
        return Err(AcpiError::Signature(root));
    }
    let length = table_length(memory, root)?;
    checksum(memory, root, length)?;
    let mut offset = HEADER;
    while offset + width <= length {
        let table = if width == 8 {
            u64::from_le_bytes(bytes(memory, root + offset)?)
        } else {
            u64::from(u32::from_le_bytes(bytes(memory, root + offset)?))
        };
        if bytes::<4>(memory, table)? == *b"APIC" {
            return Ok(table);
        }
        offset += width;
    }
    Err(AcpiError::NoMadt)
}

fn table_length(memory: &impl PhysicalMemory, table: u64) -> Result<u64, AcpiError> {
    let length = u64::from(u32::from_le_bytes(bytes(memory, table + 4)?));
    if (HEADER..=MAX_TABLE).contains(&length) { Ok(length) } else { Err(AcpiError::Length(table)) }
}

fn checksum(memory: &impl PhysicalMemory, start: u64, length: u64) -> Result<(), AcpiError> {
    let mut sum = 0_u8;
    let mut chunk = [0_u8; 64];
    let mut at = start;
    let mut left = usize::try_from(length).map_err(|_| AcpiError::Length(start))?;
    while left > 0 {
        let part = &mut chunk[..left.min(64)];
        if !memory.read(at, part) {
            return Err(AcpiError::Unreadable(at));
        }
        sum = part.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
        at += part.len() as u64;
        left -= part.len();
    }
    if sum == 0 { Ok(()) } else { Err(AcpiError::Checksum(start)) }
}

fn bytes<const N: usize>(memory: &impl PhysicalMemory, address: u64) -> Result<[u8; N], AcpiError> {
    let mut into = [0; N];
    // An address so high that the end of the bytes would wrap is no memory either.
    let fits = address.checked_add(MAX_TABLE).is_some();
    if fits && memory.read(address, &mut into) { Ok(into) } else { Err(AcpiError::Unreadable(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Image(Vec<u8>);

    impl PhysicalMemory for Image {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            let start = usize::try_from(address).unwrap();
            let Some(bytes) = self.0.get(start..start + into.len()) else { return false };
            into.copy_from_slice(bytes);
            true
        }
    }

    impl Image {
        fn put(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn seal(&mut self, at: usize, length: usize, field: usize) {
            self.0[at + field] = 0;
            let sum = self.0[at..at + length].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            self.0[at + field] = sum.wrapping_neg();
        }

        fn table(&mut self, at: usize, signature: &[u8; 4], body: &[u8]) {
            let length = 36 + body.len();
            self.put(at, signature);
            self.put(at + 4, &u32::try_from(length).unwrap().to_le_bytes());
            self.put(at + 36, body);
            self.seal(at, length, 9);
        }
    }

    /// RSDP at 0x10, root table at 0x100, another table at 0x200, MADT at 0x300.
    fn image(revision: u8, madt_entries: &[u8]) -> Image {
        let mut image = Image(vec![0; 0x1000]);
        image.table(0x200, b"FACP", &[0; 4]);
        let mut madt = vec![0; 8];
        madt.extend_from_slice(madt_entries);
        image.table(0x300, b"APIC", &madt);
        image.put(0x10, b"RSD PTR ");
        image.put(0x10 + 15, &[revision]);
        if revision >= 2 {
            let pointers: Vec<u8> = [0x200_u64, 0x300].iter().flat_map(|at| at.to_le_bytes()).collect();
            image.table(0x100, b"XSDT", &pointers);
            image.put(0x10 + 20, &36_u32.to_le_bytes());
            image.put(0x10 + 24, &0x100_u64.to_le_bytes());
        } else {
            let pointers: Vec<u8> = [0x200_u32, 0x300].iter().flat_map(|at| at.to_le_bytes()).collect();
            image.table(0x100, b"RSDT", &pointers);
            image.put(0x10 + 16, &0x100_u32.to_le_bytes());
        }
        image.seal(0x10, 20, 8);
        image.seal(0x10, 36, 32);
        image
    }

    const LAPIC_3: [u8; 8] = [0, 8, 0, 3, 1, 0, 0, 0];
    const LAPIC_4_DISABLED: [u8; 8] = [0, 8, 0, 4, 0, 0, 0, 0];
    const IOAPIC: [u8; 12] = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
    const X2APIC_4095: [u8; 16] = [9, 16, 0, 0, 0xff, 0x0f, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0];

    fn cpus(image: &Image) -> Result<Vec<u32>, AcpiError> {
        let mut ids = Vec::new();
        each_cpu(image, 0x10, |id| ids.push(id)).map(|()| ids)
    }

    #[test]
    fn both_kinds_of_entries_are_found_by_both_roots() {
        let entries = [&LAPIC_3[..], &IOAPIC, &LAPIC_4_DISABLED, &X2APIC_4095].concat();
        assert_eq!(cpus(&image(0, &entries)), Ok(vec![3, 4095]));
        assert_eq!(cpus(&image(2, &entries)), Ok(vec![3, 4095]));
    }

    #[test]
    fn an_entry_of_length_zero_ends_in_an_error() {
        assert!(matches!(cpus(&image(0, &[0, 0, 0, 0])), Err(AcpiError::Length(_))));
    }

    #[test]
    fn an_entry_that_leaves_the_table_ends_in_an_error() {
        assert!(matches!(cpus(&image(0, &[0, 8, 0, 3])), Err(AcpiError::Length(_))));
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let mut damaged = image(2, &LAPIC_3);
        damaged.0[0x300 + 40] ^= 1;
        assert_eq!(cpus(&damaged), Err(AcpiError::Checksum(0x300)));
    }

    #[test]
    fn a_wild_pointer_is_refused() {
        let mut wild = image(2, &LAPIC_3);
        wild.put(0x10 + 24, &u64::MAX.to_le_bytes());
        wild.seal(0x10, 20, 8);
        wild.seal(0x10, 36, 32);
        assert_eq!(cpus(&wild), Err(AcpiError::Unreadable(u64::MAX)));
    }

    #[test]
    fn a_missing_signature_is_refused() {
        let nothing = Image(vec![0; 0x1000]);
        assert_eq!(cpus(&nothing), Err(AcpiError::Signature(0x10)));
    }
}
