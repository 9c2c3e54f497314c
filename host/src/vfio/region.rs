//! A region of a VFIO device, as `VFIO_DEVICE_GET_REGION_INFO` describes it (linux/vfio.h, `struct vfio_region_info`
//! and the capabilities behind it).

use std::mem::offset_of;
use vfio_bindings::bindings::vfio::{
    VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, VFIO_REGION_INFO_CAP_SPARSE_MMAP, VFIO_REGION_INFO_FLAG_CAPS,
    VFIO_REGION_INFO_FLAG_MMAP, vfio_info_cap_header, vfio_region_info,
};

/// Length of the description without capabilities, in 32-bit words.
pub(crate) const REGION_INFO_WORDS: usize = size_of::<vfio_region_info>() / 4;

/// A region.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    /// Its length in bytes; 0 if the device does not have it.
    pub(crate) size: u64,
    /// Where it begins for `pread`, `pwrite` and `mmap` of the device's descriptor.
    pub(crate) offset: u64,
    /// Whether it may be mapped at all.
    pub(crate) mappable: bool,
    /// Whether it may be mapped in parts only (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`).
    pub(crate) in_parts: bool,
    /// Whether the MSI-X table in it may be mapped with it (`VFIO_REGION_INFO_CAP_MSIX_MAPPABLE`).
    pub(crate) with_table: bool,
}

impl Region {
    /// Parses the kernel's answer. A list of capabilities that leaves the answer, or does not go forward, ends there:
    /// a capability that is not seen makes the region less mappable or is unknown here, with one exception, the parts
    /// of a sparse region. So a list that cannot be followed to its end makes the region unmappable.
    pub(crate) fn parse(words: &[u32]) -> Self {
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 1)) << 32;
        let flags = word(1);
        let mut region = Self {
            size: long(offset_of!(vfio_region_info, size) / 4),
            offset: long(offset_of!(vfio_region_info, offset) / 4),
            mappable: flags & VFIO_REGION_INFO_FLAG_MMAP != 0,
            ..Self::default()
        };
        let mut at = if flags & VFIO_REGION_INFO_FLAG_CAPS == 0 { 0 } else { word(3) as usize };
        let mut end = size_of::<vfio_region_info>();
        while at != 0 {
            let head = (at % 4 == 0 && at >= end).then(|| words.get(at / 4..at / 4 + HEADER_WORDS)).flatten();
            let Some(&[id_and_version, next]) = head else {
                region.mappable = false;
                break;
            };
            match id_and_version & 0xffff {
                VFIO_REGION_INFO_CAP_SPARSE_MMAP => region.in_parts = true,
                VFIO_REGION_INFO_CAP_MSIX_MAPPABLE => region.with_table = true,
                _ => {}
            }
            end = at + size_of::<vfio_info_cap_header>();
            at = next as usize;
        }
        region
    }
}

/// Length of the head of a capability: id and version in the first word, the offset of the next one in the second.
const HEADER_WORDS: usize = size_of::<vfio_info_cap_header>() / 4;

const _: () = assert!(HEADER_WORDS == 2 && REGION_INFO_WORDS == 8);
const _: () = assert!(offset_of!(vfio_region_info, cap_offset) == 12);
const _: () = assert!(offset_of!(vfio_info_cap_header, next) == 4);

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's answer for a region of 0x4000 bytes with capabilities (id, next).
    fn answer(flags: u32, first: u32, capabilities: &[u32]) -> Vec<u32> {
        let mut words = vec![0, flags, 3, first, 0x4000, 0, 0, 0x300];
        words.extend(capabilities);
        words
    }

    const ALL: u32 = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS | 3;

    #[test]
    fn a_region_with_the_table_mappable() {
        let region = Region::parse(&answer(ALL, 32, &[1 << 16 | 3, 0]));
        let expected =
            Region { size: 0x4000, offset: 0x300 << 32, mappable: true, in_parts: false, with_table: true };
        assert_eq!(region, expected);
    }

    #[test]
    fn every_capability_of_the_chain_is_seen() {
        // A type, whose body has two words; a sparse one with no area; the table.
        let chain = [1 << 16 | 2, 48, 7, 7, 1 << 16 | 1, 64, 0, 0, 1 << 16 | 3, 0];
        let region = Region::parse(&answer(ALL, 32, &chain));
        assert!(region.mappable && region.in_parts && region.with_table);
    }

    #[test]
    fn without_the_flag_there_are_no_capabilities() {
        let region = Region::parse(&answer(VFIO_REGION_INFO_FLAG_MMAP, 32, &[1 << 16 | 3, 0]));
        assert!(region.mappable && !region.with_table);
        assert!(!Region::parse(&answer(3, 0, &[])).mappable);
    }

    #[test]
    fn a_chain_that_cannot_be_followed_makes_the_region_unmappable() {
        // Behind the end; its second word behind the end; into the fixed part; not aligned; a loop.
        for (first, chain) in [
            (400, vec![3, 0]),
            (36, vec![3, 0]),
            (16, vec![3, 0]),
            (34, vec![3, 0, 0]),
            (32, vec![3, 32]),
            (32, vec![3, u32::MAX]),
        ] {
            let region = Region::parse(&answer(ALL, first, &chain));
            assert!(!region.mappable, "{first} {chain:?}");
        }
    }

    #[test]
    fn an_answer_that_is_too_short_is_no_region() {
        assert_eq!(Region::parse(&[]), Region::default());
    }
}
