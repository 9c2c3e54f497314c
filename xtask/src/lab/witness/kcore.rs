//! The kernel's memory by physical address, through `/proc/kcore`: an ELF file whose segments name both addresses.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};

const PATH: &str = "/proc/kcore";
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const PT_LOAD: u64 = 1;

/// Reads `length` bytes at a physical address of RAM.
pub(crate) fn read(physical: u64, length: usize) -> Result<Vec<u8>> {
    let file = File::open(PATH).with_context(|| format!("cannot open {PATH}"))?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let table = field(&header, 32, 8);
    let count = usize::try_from(field(&header, 56, 2))?;
    let mut segments = vec![0; count * SEGMENT];
    file.read_exact_at(&mut segments, table)?;

    let place = segments.chunks_exact(SEGMENT).find_map(|segment| place_in(segment, physical, length));
    let Some(place) = place else { bail!("{PATH} holds no RAM at {physical:#x}") };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, place).with_context(|| format!("cannot read {physical:#x} in {PATH}"))?;
    Ok(bytes)
}

/// Where in the file the range is, if this segment holds all of it.
fn place_in(segment: &[u8], physical: u64, length: usize) -> Option<u64> {
    let offset = field(segment, 8, 8);
    let start = field(segment, 24, 8);
    let size = field(segment, 32, 8);
    let inside = physical.checked_sub(start)?;
    let end = inside.checked_add(u64::try_from(length).ok()?)?;
    // a segment that says it is nowhere (all ones) cannot hold an address of RAM
    (field(segment, 0, 4) == PT_LOAD && end <= size).then_some(offset + inside)
}

fn field(bytes: &[u8], start: usize, length: usize) -> u64 {
    bytes[start..start + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(kind: u64, offset: u64, physical: u64, size: u64) -> Vec<u8> {
        let words = [kind, offset, 0, physical, size, size, 0];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_range_is_found_only_in_a_segment_that_holds_all_of_it() {
        let ram = segment(1, 0x1000, 0x10_0000, 0x2000);
        assert_eq!(place_in(&ram, 0x10_0000, 0x2000), Some(0x1000));
        assert_eq!(place_in(&ram, 0x10_1ff0, 0x10), Some(0x2ff0));
        assert_eq!(place_in(&ram, 0x10_1ff0, 0x11), None);
        assert_eq!(place_in(&ram, 0xf_ffff, 1), None);
        assert_eq!(place_in(&segment(4, 0x1000, 0x10_0000, 0x2000), 0x10_0000, 1), None);
        assert_eq!(place_in(&segment(1, 0x1000, u64::MAX, 0x2000), 0x10_0000, 1), None);
    }
}
