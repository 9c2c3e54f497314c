//! Which handles of the VM's remapping table each emulated device has.

use super::layout::StoreLayout;
use std::io;
use std::ops::Range;

/// The handles of a VM's emulated devices: 65,536, as a remapping table has entries.
#[derive(Debug, Default)]
pub struct HandlePool {
    next: u32,
}

impl HandlePool {
    const END: u32 = 1 << 16;

    /// Handles for a device.
    ///
    /// # Errors
    /// `ENOSPC` when the VM has used them all.
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
