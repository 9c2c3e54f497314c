//! Handles of the software remapping unit, given out to the emulated devices of a VM.

use super::layout::StoreLayout;
use std::io;
use std::ops::Range;

/// The free handles of a VM's emulated devices. There are 65,536, as many as a remapping table has entries (Intel
/// VT-d Specification, Rev. 5.10, section 5.1.2.2: the handle has 16 bits).
#[derive(Debug, Default)]
pub struct HandlePool {
    next: u32,
}

impl HandlePool {
    const END: u32 = 1 << 16;

    /// Takes as many consecutive handles as a device with this layout needs.
    ///
    /// # Errors
    /// `ENOSPC` if fewer are left.
    pub fn take(&mut self, layout: &StoreLayout) -> io::Result<Range<u32>> {
        let end = self.next + layout.handles();
        if end > Self::END {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(std::mem::replace(&mut self.next, end)..end)
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
}
