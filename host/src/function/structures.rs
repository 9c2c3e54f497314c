//! Which pages of a BAR the guest reaches without exits, before and after it enabled pvir.

use crate::pci::{ENTRY_LEN, MsixCapability};
use crate::trapped::StoreArea;
use std::ops::Range;

const PAGE: u64 = 4096;
/// Table and pending bits start and end at multiples of this, and no access to them is wider.
const WIDEST: usize = 8;

/// The MSI-X structures that lie in a BAR, by their byte offsets in it; empty where they are in another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Structures {
    pub(super) table: Range<u64>,
    pub(super) pba: Range<u64>,
}

/// A part of an access to a BAR.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AccessPart {
    /// Its offset in the BAR.
    pub(super) offset: u64,
    /// Its bytes of the access.
    pub(super) bytes: Range<usize>,
    /// The structure that it is in, and the offset in that.
    pub(super) structure: Option<(StoreArea, u64)>,
}

impl Structures {
    /// The structures that lie in `bar`.
    pub(super) fn of(bar: u8, msix: Option<&MsixCapability>) -> Self {
        let Some(msix) = msix else { return Self::default() };
        let entries = u64::from(msix.entries);
        let range_in = |in_bar, offset, size| if in_bar == bar { offset..offset + size } else { 0..0 };
        Self {
            table: range_in(msix.table_bar, msix.table_offset, entries * ENTRY_LEN),
            pba: range_in(msix.pba_bar, msix.pba_offset, entries.div_ceil(64) * 8),
        }
    }

    /// The structure at an offset in the BAR, and the offset in it.
    pub(super) fn find(&self, offset: u64) -> Option<(StoreArea, u64)> {
        let structures = [(StoreArea::Table, &self.table), (StoreArea::PendingBits, &self.pba)];
        let (place, range) = structures.into_iter().find(|(_, range)| range.contains(&offset))?;
        Some((place, offset - range.start))
    }

    /// The parts of an access: each lies in one aligned quadword of a structure, or outside of all.
    pub(super) fn parts(&self, offset: u64, len: usize) -> impl Iterator<Item = AccessPart> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let left = len.checked_sub(at).filter(|left| *left > 0)?;
            let first = offset.wrapping_add(at as u64);
            let structure = self.find(first);
            let most = match structure {
                Some(_) => WIDEST - usize::from(first.to_le_bytes()[0]) % WIDEST,
                None => self.distance(first),
            };
            let bytes = at..at + left.min(most);
            at = bytes.end;
            Some(AccessPart { offset: first, bytes, structure })
        })
    }

    /// Bytes from an offset outside of the structures to the next of them.
    fn distance(&self, offset: u64) -> usize {
        let ranges = [&self.table, &self.pba].into_iter().filter(|range| !range.is_empty());
        let next = ranges.filter_map(|range| range.start.checked_sub(offset)).min();
        next.and_then(|distance| usize::try_from(distance).ok()).unwrap_or(usize::MAX)
    }

    /// The pages that the structures touch, in order, none twice.
    fn pages(&self) -> Vec<Range<u64>> {
        let mut pages: Vec<Range<u64>> = [&self.table, &self.pba]
            .into_iter()
            .filter(|range| !range.is_empty())
            .map(|range| range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE))
            .collect();
        pages.sort_by_key(|range| range.start);
        if let [first, second] = &mut pages[..] {
            if second.start <= first.end {
                let both = first.start..first.end.max(second.end);
                return vec![both];
            }
        }
        pages
    }

    /// The parts of a BAR of `size` bytes that are mapped. The parts that are always mapped are the same in both
    /// cases, so that opening the table disturbs nothing else.
    pub(super) fn mapped(&self, size: u64, open: bool) -> Vec<Range<u64>> {
        let mut parts = Vec::new();
        let mut at = 0;
        for page in self.pages() {
            if at < page.start {
                parts.push(at..page.start);
            }
            at = page.end;
            if open {
                parts.push(page);
            }
        }
        if at < size {
            parts.push(at..size);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structures(table: Range<u64>, pba: Range<u64>) -> Structures {
        Structures { table, pba }
    }

    #[test]
    fn an_82576_has_two_trapped_pages_before_enable() {
        let msix = MsixCapability {
            offset: 0x70,
            entries: 10,
            table_bar: 3,
            table_offset: 0,
            pba_bar: 3,
            pba_offset: 0x2000,
        };
        let of_3 = Structures::of(3, Some(&msix));
        assert_eq!(of_3, structures(0..160, 0x2000..0x2008));
        assert_eq!(of_3.mapped(0x4000, false), [0x1000..0x2000, 0x3000..0x4000]);
        assert_eq!(of_3.mapped(0x4000, true), [0..0x1000, 0x1000..0x2000, 0x2000..0x3000, 0x3000..0x4000]);
        assert_eq!(
            Structures::of(0, Some(&msix)).mapped(0x2_0000, false),
            std::iter::once(0..0x2_0000).collect::<Vec<_>>()
        );
    }

    #[test]
    fn table_and_pending_bits_may_share_pages() {
        let all = 0..0x1000;
        assert!(structures(0..0x800, 0x800..0x810).mapped(0x1000, false).is_empty());
        assert_eq!(structures(0..0x800, 0x800..0x810).mapped(0x1000, true), [all]);
        let apart = structures(0x2f00..0x3100, 0x1ff8..0x2000);
        assert_eq!(apart.mapped(0x8000, false), [0..0x1000, 0x4000..0x8000]);
        assert_eq!(apart.mapped(0x8000, true), [0..0x1000, 0x1000..0x4000, 0x4000..0x8000]);
    }

    #[test]
    fn accesses_are_cut_at_quadwords_inside_and_at_bounds_outside() {
        let structures = structures(0x10..0x30, 0x30..0x38);
        let cut = |offset, len| {
            let parts = structures.parts(offset, len);
            parts.map(|part| (part.offset, part.bytes, part.structure)).collect::<Vec<_>>()
        };
        let table = |at| Some((StoreArea::Table, at));
        assert_eq!(cut(0, 16), [(0, 0..16, None)]);
        assert_eq!(cut(0x0c, 8), [(0x0c, 0..4, None), (0x10, 4..8, table(0))]);
        assert_eq!(cut(0x14, 8), [(0x14, 0..4, table(4)), (0x18, 4..8, table(8))]);
        assert_eq!(
            cut(0x2e, 13),
            [
                (0x2e, 0..2, table(0x1e)),
                (0x30, 2..10, Some((StoreArea::PendingBits, 0))),
                (0x38, 10..13, None)
            ]
        );
        assert_eq!(cut(u64::MAX, 2), [(u64::MAX, 0..2, None)]);
    }
}
