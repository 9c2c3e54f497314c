//! The table by which an AMD host's firmware describes its IOMMUs: ACPI's IVRS.
//!
//! AMD I/O Virtualization Technology (IOMMU) Specification, 48882 Rev 3.11, "I/O Virtualization ACPI Table": the sections
//! "I/O Virtualization Reporting Structure (IVRS)", "I/O Virtualization Hardware Definition (IVHD) Block" and "IVHD Device
//! Entries". An entry's data setting goes into the device table entries of the functions that it names (Linux 6.12,
//! drivers/iommu/amd/init.c, `init_iommu_from_acpi`).

use pvir_abi::{Bdf, DeviceId};

/// The bits of a data setting: what a device may send past the remapping of interrupts. Bit 3 is reserved.
const SETTINGS: [(u8, &str); 6] = [
    (0x01, "INIT (INITPass)"),
    (0x02, "ExtINT (EIntPass)"),
    (0x04, "NMI (NMIPass)"),
    (0x30, "system management messages (SysMgt)"),
    (0x40, "LINT0 (Lint0Pass)"),
    (0x80, "LINT1 (Lint1Pass)"),
];
/// Length of the table's header, with IVinfo and the reserved field behind it.
const HEADER: usize = 48;
/// Length of an entry's fixed part that an ACPI device with a name has.
const NAMED_LEN: usize = 22;

/// What the table says of one function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FunctionEntry {
    /// All bits of the data settings that name it.
    settings: u8,
    /// Another function of the same entry: one of them sends under the other's requester id.
    pub(super) alias: Option<Bdf>,
}

impl FunctionEntry {
    /// What the function may send unmapped, for people; `None` if it is nothing.
    pub(super) fn passes(self) -> Option<String> {
        let names = SETTINGS.iter().filter(|(bits, _)| self.settings & bits != 0).map(|(_, name)| *name);
        let all: Vec<&str> = names.collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// One or several functions of a block, and what its entry says of them.
struct Entry {
    first: u16,
    last: u16,
    settings: u8,
    /// The requester id under which they send.
    alias: Option<u16>,
}

/// Reads what the table says of `device`, in all of its blocks: Linux takes one kind of them, and here each counts.
///
/// # Errors
/// What of the table is not understood, as a phrase.
pub(super) fn find(table: &[u8], device: DeviceId) -> Result<FunctionEntry, String> {
    if table.get(..4) != Some(b"IVRS") || u32_at(table, 4).map(u64::from) != Some(table.len() as u64) {
        return Err("it is no IVRS of the length that it names".to_owned());
    }
    if table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err("its checksum is wrong".to_owned());
    }
    let mut found = FunctionEntry::default();
    let mut rest = table.get(HEADER..).ok_or("it ends in its header")?;
    while let Some(kind) = rest.first() {
        let len = u16_at(rest, 2).map_or(0, usize::from);
        let block = rest.get(..len).filter(|block| block.len() >= 4).ok_or("a block is cut off")?;
        rest = &rest[len..];
        let header = match kind {
            0x10 => 24,
            0x11 | 0x40 => 40,
            // Memory definitions: they are about DMA.
            0x20..=0x22 => continue,
            kind => return Err(format!("a block of the unknown type {kind:#x}")),
        };
        let segment = u16_at(block, 16);
        let entries = block.get(header..).ok_or("a block is shorter than its header")?;
        for entry in entries_of(entries)? {
            if segment == Some(device.segment) {
                entry.add_to(&mut found, device.bdf);
            }
        }
    }
    Ok(found)
}

impl Entry {
    fn add_to(&self, found: &mut FunctionEntry, function: Bdf) {
        let is_named = (self.first..=self.last).contains(&function.0);
        let is_target = self.alias == Some(function.0);
        if !is_named && !is_target {
            return;
        }
        found.settings |= self.settings;
        let other = match self.alias {
            Some(alias) if is_named && alias != function.0 => Some(alias),
            Some(_) if self.first != function.0 || self.last != function.0 => {
                Some(if self.first == function.0 { self.last } else { self.first })
            }
            _ => None,
        };
        found.alias = found.alias.or(other.map(Bdf));
    }
}

/// The entries of a block.
fn entries_of(mut bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    // The start of a range whose end is still to come.
    let mut open: Option<Entry> = None;
    while let Some(&kind) = bytes.first() {
        let len = entry_len(kind, bytes)?;
        let entry = bytes.get(..len).ok_or("an entry is cut off")?;
        bytes = &bytes[len..];
        let (Some(first), Some(&settings)) = (u16_at(entry, 1), entry.get(3)) else {
            return Err("an entry is cut off".to_owned());
        };
        let alias = matches!(kind, 0x42 | 0x43).then(|| u16_at(entry, 5)).flatten();
        let this = Entry { first, last: first, settings, alias };
        if open.is_some() && !matches!(kind, 0 | 4) {
            return Err("a range has no end".to_owned());
        }
        match kind {
            // Padding.
            0 => {}
            1 => entries.push(Entry { first: 0, last: u16::MAX, ..this }),
            3 | 0x43 | 0x47 => open = Some(this),
            4 => {
                let range = open.take().ok_or("a range has no start")?;
                if range.first > first {
                    return Err("a range ends before its start".to_owned());
                }
                entries.push(Entry { last: first, ..range });
            }
            // The requester id of an I/O APIC or HPET stands behind the data setting.
            0x48 => {
                let id = u16_at(entry, 5).ok_or("an entry is cut off")?;
                entries.push(Entry { first: id, last: id, ..this });
            }
            _ => entries.push(this),
        }
    }
    if open.is_some() { Err("a range has no end".to_owned()) } else { Ok(entries) }
}

/// The length of the entry that begins here.
fn entry_len(kind: u8, bytes: &[u8]) -> Result<usize, String> {
    match kind {
        0..=4 => Ok(4),
        0x42 | 0x43 | 0x46 | 0x47 | 0x48 => Ok(8),
        0xf0 => {
            let name = bytes.get(NAMED_LEN - 1).ok_or("an entry is cut off")?;
            Ok(NAMED_LEN + usize::from(*name))
        }
        kind => Err(format!("an entry of the unknown type {kind:#x}")),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::id;
    use super::*;

    /// A table with these blocks.
    pub(in super::super) fn table(blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut table = vec![0; HEADER];
        table[..4].copy_from_slice(b"IVRS");
        table.extend(blocks.concat());
        let len = u32::try_from(table.len()).unwrap();
        table[4..8].copy_from_slice(&len.to_le_bytes());
        table[9] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        table
    }

    /// An IVHD block of a segment.
    pub(in super::super) fn block(kind: u8, segment: u16, entries: &[u8]) -> Vec<u8> {
        let mut block = vec![0; if kind == 0x10 { 24 } else { 40 }];
        block.extend(entries);
        let len = u16::try_from(block.len()).unwrap();
        block[0] = kind;
        block[2..4].copy_from_slice(&len.to_le_bytes());
        block[16..18].copy_from_slice(&segment.to_le_bytes());
        block
    }

    fn settings(entries: &[u8], device: u8) -> Result<u8, String> {
        find(&table(&[block(0x11, 0, entries)]), id(device)).map(|found| found.settings)
    }

    #[test]
    fn each_kind_of_entry_names_its_functions() {
        let range = [3, 0x10, 0, 1, 4, 0x20, 0, 0];
        assert_eq!([1, 2, 3, 4, 5].map(|device| settings(&range, device).unwrap()), [0, 1, 1, 1, 0]);
        assert_eq!(settings(&[1, 0, 0, 4], 31), Ok(4), "all");
        assert_eq!(settings(&[2, 0x28, 0, 0x40, 2, 0x28, 0, 0x80], 5), Ok(0xc0), "each entry counts");
        assert_eq!(settings(&[2, 0x29, 0, 0x40], 5), Ok(0), "another function");
        assert_eq!(settings(&[0x46, 0x28, 0, 2, 0, 0, 0, 0x80], 5), Ok(2), "extended");
        assert_eq!(settings(&[0x47, 0, 0, 2, 0, 0, 0, 0, 4, 0xff, 0xff, 0], 5), Ok(2), "extended range");
        let apic = [0x48, 0, 0, 0xd7, 0, 0xa0, 0, 1];
        assert_eq!(
            (settings(&apic, 20), settings(&apic, 0)),
            (Ok(0xd7), Ok(0)),
            "an I/O APIC's requester id"
        );
        let mut named = [0; 26];
        named[..4].copy_from_slice(&[0xf0, 0x28, 0, 1]);
        named[21] = 4;
        assert_eq!(
            settings(&[&named[..], &[2, 0x28, 0, 2]].concat(), 5),
            Ok(3),
            "a named device, and behind it"
        );
    }

    #[test]
    fn segments_and_blocks_are_told_apart_and_all_count() {
        let select = |setting| [2, 0x28, 0, setting];
        let blocks = [block(0x10, 0, &select(1)), block(0x40, 0, &select(4)), block(0x11, 1, &select(0x80))];
        let memory = [vec![0x20, 0, 32, 0], vec![0xff; 28]].concat();
        let found = find(&table(&[&[memory], &blocks[..]].concat()), id(5)).unwrap();
        assert_eq!(found.passes().unwrap(), "INIT (INITPass), NMI (NMIPass)");
        assert_eq!(find(&table(&blocks), DeviceId::new(2, Bdf(0x28))), Ok(FunctionEntry::default()));
    }

    #[test]
    fn aliases_are_known_from_both_sides() {
        let alias = |entries: &[u8], device| {
            find(&table(&[block(0x10, 0, entries)]), id(device)).unwrap().alias.map(|alias| alias.0)
        };
        let one = [0x42, 0x28, 0, 0, 0, 0x30, 0, 0];
        assert_eq!([5, 6, 7].map(|device| alias(&one, device)), [Some(0x30), Some(0x28), None]);
        assert_eq!(alias(&[0x42, 0x28, 0, 0, 0, 0x28, 0, 0], 5), None, "itself");
        let range = [0x43, 0x20, 0, 0, 0, 0x28, 0, 0, 4, 0x38, 0, 0];
        assert_eq!(
            [4, 5, 7, 8].map(|device| alias(&range, device)),
            [Some(0x28), Some(0x20), Some(0x28), None]
        );
    }

    /// What QEMU writes for its amd-iommu: two blocks of the same entries, whose data settings are 0.
    #[test]
    fn the_table_of_the_lab_lets_its_functions_pass_nothing() {
        let entries = [
            [2, 0, 0, 0, 2, 8, 0, 0],
            [2, 0xf0, 0, 0, 2, 0xf8, 0, 0],
            [2, 0xfa, 0, 0, 2, 0xfb, 0, 0],
            [0x48, 0, 0, 0, 0, 0xa0, 0, 1],
        ]
        .concat();
        let table = table(&[block(0x10, 0, &entries), block(0x11, 0, &entries)]);
        assert_eq!(find(&table, id(30)), Ok(FunctionEntry::default()));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (entries, what) in [
            (&[5, 0, 0, 0][..], "unknown type 0x5"),
            (&[0x44, 0, 0, 0, 0, 0, 0, 0], "unknown type 0x44"),
            (&[3, 0, 0, 0], "no end"),
            (&[3, 0, 0, 0, 2, 0, 0, 0], "no end"),
            (&[4, 0, 0, 0], "no start"),
            (&[3, 8, 0, 0, 4, 0, 0, 0], "before its start"),
            (&[2, 0, 0], "cut off"),
            (&[0x42, 0, 0, 0, 0], "cut off"),
            (&[0xf0, 0, 0, 0], "cut off"),
        ] {
            let error = settings(entries, 5).unwrap_err();
            assert!(error.contains(what), "{entries:x?}: {error}");
        }
        let good = table(&[block(0x11, 0, &[2, 0, 0, 0])]);
        assert!(find(&good, id(5)).is_ok());
        for end in 0..good.len() {
            assert!(find(&good[..end], id(5)).is_err(), "{end}");
        }
        for (at, byte) in [(0, b'J'), (9, good[9].wrapping_add(1)), (60, 1)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(find(&bad, id(5)).is_err(), "{at}");
        }
        for blocks in
            [[vec![0x50, 0, 4, 0]], [vec![0x11, 0, 3, 0]], [vec![0x11, 0, 8, 0, 0, 0, 0, 0]], [vec![0x10]]]
        {
            assert!(find(&table(&blocks), id(5)).is_err(), "{blocks:x?}");
        }
    }
}
