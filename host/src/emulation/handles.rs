//! Handles of the software remapping unit, given out to the emulated devices of a VM.

use super::layout::StoreLayout;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// The free handles of a VM's emulated devices. There are 65,536, as many as a remapping table has entries (Intel
/// VT-d Specification, Rev. 5.10, section 5.1.2.2: the handle has 16 bits).
#[derive(Debug, Default)]
pub struct HandlePool {
    next: u32,
    /// Those below `next` that were given back, by their first. No two of them touch.
    free: BTreeMap<u32, u32>,
}

impl HandlePool {
    const END: u32 = 1 << 16;

    /// Takes as many consecutive handles as a device with this layout needs.
    ///
    /// # Errors
    /// `ENOSPC` if fewer are left.
    pub fn take(&mut self, layout: &StoreLayout) -> io::Result<Range<u32>> {
        let wanted = layout.handles();
        if let Some((&start, &end)) = self.free.iter().find(|(start, end)| **end - **start >= wanted) {
            self.free.remove(&start);
            if start + wanted < end {
                self.free.insert(start + wanted, end);
            }
            return Ok(start..start + wanted);
        }
        let end = self.next + wanted;
        if end > Self::END {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(std::mem::replace(&mut self.next, end)..end)
    }

    /// Gives back the handles of a device that has gone.
    pub fn give_back(&mut self, handles: Range<u32>) {
        let (mut start, mut end) = (handles.start, handles.end);
        if let Some((&before, _)) = self.free.iter().find(|(_, other)| **other == start) {
            self.free.remove(&before);
            start = before;
        }
        if let Some(behind) = self.free.remove(&end) {
            end = behind;
        }
        if end == self.next {
            self.next = start;
        } else {
            self.free.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_ranges_of_their_own_until_all_are_used() {
        let mut pool = HandlePool::default();
        let layout = |vectors| StoreLayout::msix(vectors).unwrap();
        assert_eq!(pool.take(&layout(2048)).unwrap(), 0..2048);
        assert_eq!(pool.take(&layout(4)).unwrap(), 2048..2052);
        let last = (0..30).map(|_| pool.take(&layout(2048)).unwrap()).last();
        assert_eq!(last, Some(61444..63492));
        assert_eq!(pool.take(&layout(2048)).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(pool.take(&layout(2044)).unwrap(), 63492..65536);
    }

    #[test]
    fn what_is_given_back_is_given_again_as_one_piece() {
        let layout = |vectors| StoreLayout::msix(vectors).unwrap();
        let mut pool = HandlePool::default();
        let all: Vec<_> = (0..31).map(|_| pool.take(&layout(2048)).unwrap()).collect();
        for place in [3, 5, 4, 30, 29] {
            pool.give_back(all[place].clone());
        }
        assert_eq!(pool.take(&layout(5)).unwrap(), all[3].start..all[3].start + 5);
        assert_eq!(pool.take(&layout(2048)).unwrap().start, all[3].start + 5);
        pool.give_back(all[3].start..all[3].start + 5);
        pool.give_back(all[3].start + 5..all[3].start + 2053);
        assert_eq!(pool.take(&layout(2048)).unwrap(), all[3]);
        for round in 0..1_000 {
            let taken = pool.take(&layout(2048)).unwrap();
            assert_eq!(taken, all[4], "round {round}");
            pool.give_back(taken);
        }
    }
}
