//! The interrupt remapping tables of Intel VT-d.
//!
//! Intel Virtualization Technology for Directed I/O, Architecture Specification, revision 4.1: 9.10 and 9.11 (entries),
//! 11.4 (registers).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::mmio::Window;
use crate::{kcore, print};

const UNITS: &str = "/sys/class/iommu";
const REGISTERS: usize = 0x100;
const GLOBAL_STATUS: usize = 0x1c;
const TABLE_ADDRESS: usize = 0xb8;
const ENTRY: usize = 16;

#[derive(Serialize)]
struct Unit {
    unit: String,
    registers: String,
    /// Whether messages are remapped at all.
    enabled: bool,
    /// Whether messages in the old form pass unchanged.
    compatibility_format: bool,
    /// Whether destinations have 32 bits.
    extended: bool,
    entries: usize,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Irte {
    index: usize,
    present: bool,
    posted: bool,
    vector: u8,
    /// Only of an entry that is not posted.
    dest: u32,
    logical: bool,
    delivery_mode: u8,
    sid: String,
    svt: u8,
    raw: String,
}

/// Prints each unit, then its entries.
pub(crate) fn show(all: bool) -> Result<()> {
    let mut units = 0;
    for unit in fs::read_dir(UNITS).with_context(|| format!("cannot list {UNITS}"))? {
        let unit = unit?;
        let Ok(address) = fs::read_to_string(unit.path().join("intel-iommu/address")) else { continue };
        units += 1;
        show_unit(&unit.file_name().to_string_lossy(), address.trim(), all)?;
    }
    if units == 0 {
        bail!("there is no Intel IOMMU");
    }
    Ok(())
}

fn show_unit(name: &str, address: &str, all: bool) -> Result<()> {
    let address = u64::from_str_radix(address, 16).with_context(|| format!("{address} is no address"))?;
    let registers = Window::map(Path::new("/dev/mem"), address, REGISTERS)
        .context("cannot read the IOMMU's registers; help: boot with iomem=relaxed")?;
    let status = registers.read(GLOBAL_STATUS)?;
    let table = registers.read_pair(TABLE_ADDRESS)?;
    let entries = 2usize << (table & 0xf);
    print(&Unit {
        unit: name.to_owned(),
        registers: format!("{address:#x}"),
        enabled: status >> 25 & 1 == 1,
        compatibility_format: status >> 23 & 1 == 1,
        extended: table >> 11 & 1 == 1,
        entries,
    })?;
    if status >> 24 & 1 == 0 {
        // no table was ever given to this unit
        return Ok(());
    }
    let bytes = kcore::read(table & !0xfff, entries * ENTRY)?;
    let extended = table >> 11 & 1 == 1;
    for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
        let entry = decode(index, word(&entry[..8]), word(&entry[8..]), extended);
        if entry.present || all {
            print(&entry)?;
        }
    }
    Ok(())
}

fn decode(index: usize, low: u64, high: u64, extended: bool) -> Irte {
    let posted = low >> 15 & 1 == 1;
    let destination = bits(low, 32, 32);
    Irte {
        index,
        present: low & 1 == 1,
        posted,
        vector: byte(low, 16, 8),
        // without extended mode the id stands in the second byte
        dest: if posted {
            0
        } else if extended {
            destination
        } else {
            destination >> 8 & 0xff
        },
        logical: !posted && low >> 2 & 1 == 1,
        delivery_mode: if posted { 0 } else { byte(low, 5, 3) },
        sid: format!("{:02x}:{:02x}.{:x}", byte(high, 8, 8), byte(high, 3, 5), byte(high, 0, 3)),
        svt: byte(high, 18, 2),
        raw: format!("{high:016x}{low:016x}"),
    }
}

fn bits(word: u64, start: u32, length: u32) -> u32 {
    u32::try_from(word >> start & ((1 << length) - 1)).unwrap_or(u32::MAX)
}

fn byte(word: u64, start: u32, length: u32) -> u8 {
    u8::try_from(bits(word, start, length)).unwrap_or(u8::MAX)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_decoded_by_the_specification() {
        // present, fixed, physical, vector 0x31, destination 300; source 03:02.1, whole id checked
        let entry = decode(7, 0x0000_012c_0031_0001, 0x0004_0311, true);
        assert!(entry.present && !entry.posted && !entry.logical);
        assert_eq!((entry.index, entry.vector, entry.dest, entry.svt), (7, 0x31, 300, 1));
        assert_eq!(entry.sid, "03:02.1");
    }

    #[test]
    fn without_extended_mode_the_destination_has_eight_bits() {
        assert_eq!(decode(0, 0x0000_0500_0031_0001, 0, false).dest, 5);
    }

    #[test]
    fn an_absent_entry_is_absent() {
        assert!(!decode(0, 0, 0, true).present);
    }
}
