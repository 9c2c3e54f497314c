#![expect(unsafe_code, reason = "madvise gives the pages of guest RAM back to the host")]
//! Guest RAM as at power-on: zeros.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use vm_memory::{
    Bytes, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

/// Who has the pages of guest RAM beside the guest and this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RamPins {
    /// Nobody.
    None,
    /// Host devices, whose IOMMU domain has each page pinned where it is.
    Devices,
}

/// The same of a VM whose devices come and go. What was pinned once is taken for pinned for good: a device that has left may
/// not have been given back yet.
#[derive(Debug, Default)]
pub(crate) struct PinnedOnce(AtomicBool);

impl PinnedOnce {
    /// From now on a host device reaches RAM.
    pub(crate) fn pin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn now(&self) -> RamPins {
        if self.0.load(Ordering::Acquire) { RamPins::Devices } else { RamPins::None }
    }
}

/// Bytes that are written at once.
const CHUNK: usize = 2 << 20;

/// Fills guest RAM with zeros. Where no device has it pinned, its pages are given back to the host, as they were before
/// the guest first wrote them.
///
/// # Errors
/// The region that could not be written.
pub(crate) fn make_blank(memory: &GuestMemoryMmap, pins: RamPins) -> Result<()> {
    for region in memory.iter() {
        if pins == RamPins::None && give_back(region) {
            continue;
        }
        let start = region.start_addr().0;
        write_zeros(region).with_context(|| format!("cannot clear the RAM at {start:#x}"))?;
    }
    Ok(())
}

/// Whether the host took the pages: not where something has locked them (`mlockall`).
fn give_back(region: &GuestRegionMmap) -> bool {
    let Ok(size) = usize::try_from(region.len()) else { return false };
    // SAFETY: the region is a private anonymous mapping of this size, which lives as long as `region`. Afterwards it reads
    // as zero, and any bytes are valid in guest RAM, of which nobody holds a reference.
    let result = unsafe { libc::madvise(region.as_ptr().cast(), size, libc::MADV_DONTNEED) };
    result == 0
}

fn write_zeros(region: &GuestRegionMmap) -> Result<()> {
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < region.len() {
        let size = usize::try_from(region.len() - at).unwrap_or(CHUNK).min(CHUNK);
        region.write_slice(&zeros[..size], MemoryRegionAddress(at))?;
        at += size as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddress;

    #[test]
    fn whatever_stood_in_ram_is_zero() {
        const SIZES: [(u64, usize); 2] = [(0, CHUNK + 0x3000), (1 << 32, 0x1000)];
        for pins in [RamPins::None, RamPins::Devices] {
            let ranges = SIZES.map(|(start, size)| (GuestAddress(start), size));
            let memory = GuestMemoryMmap::from_ranges(&ranges).unwrap();
            for (start, size) in SIZES {
                memory.write_slice(&vec![0x5a; size], GuestAddress(start)).unwrap();
            }
            make_blank(&memory, pins).unwrap();
            for (start, size) in SIZES {
                let mut read = vec![1; size];
                memory.read_slice(&mut read, GuestAddress(start)).unwrap();
                assert!(read.iter().all(|byte| *byte == 0), "{pins:?} at {start:#x}");
            }
        }
    }
}
