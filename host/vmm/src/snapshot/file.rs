//! The file of a snapshot: a header, the state of the machine, and RAM without the pages that are zero.
//!
//! RAM begins on a page and is as long in the file as in the machine; pages of zeros are holes. Header, state and RAM have
//! a checksum each, so that no byte of the file can change without being noticed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::offset_of;

use anyhow::{Context, Result, bail};
use vm_memory::{
    Bytes, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"PVIRSNAP";
/// The version of the format. A change of what is saved, or of what it means, is a new one.
const VERSION: u32 = 4;
/// Longer than the state of any machine: a few MB for 4,096 vCPUs with all their registers, many times over.
const MAX_STATE: u64 = 256 << 20;
const PAGE: usize = 4096;
/// Pages that are read and written at once.
const CHUNK: usize = 256 * PAGE;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    /// CRC-32 (IEEE 802.3) of the state, and of RAM page by page: its number and its bytes, of pages that are not zero.
    state_checksum: U32,
    state_length: U64,
    memory_offset: U64,
    memory_length: U64,
    memory_checksum: U32,
    /// Of the fields before.
    checksum: U32,
}

const HEADER: u64 = size_of::<Header>() as u64;
const _: () = assert!(HEADER == 48);

impl Header {
    fn sum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..offset_of!(Self, checksum)])
    }
}

/// Writes a snapshot into an empty regular file, to its disk.
///
/// # Errors
/// If the file is none that can hold it, or the system call that failed.
pub(super) fn write(file: &mut File, state: &[u8], memory: &GuestMemoryMmap) -> Result<u64> {
    let metadata = file.metadata().context("cannot look at the file")?;
    if !metadata.is_file() || metadata.len() != 0 {
        bail!("the file is not an empty regular file");
    }
    let memory_offset = (HEADER + state.len() as u64).next_multiple_of(PAGE as u64);
    let memory_length: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
    let end = memory_offset.checked_add(memory_length).context("the machine has too much RAM")?;
    file.set_len(end).context("cannot set the length of the file")?;
    file.seek(SeekFrom::Start(HEADER))
        .and_then(|_| file.write_all(state))
        .context("cannot write the state")?;
    let memory_checksum = write_memory(file, memory_offset, memory).context("cannot write RAM")?;
    let mut header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        state_checksum: crc32fast::hash(state).into(),
        state_length: (state.len() as u64).into(),
        memory_offset: memory_offset.into(),
        memory_length: memory_length.into(),
        memory_checksum: memory_checksum.into(),
        checksum: 0.into(),
    };
    header.checksum = header.sum().into();
    // Last: a file that was not finished is none.
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(header.as_bytes()))
        .context("cannot write the header")?;
    file.sync_all().context("cannot bring the file to its disk")?;
    Ok(end)
}

/// What is summed over RAM.
struct MemorySum(crc32fast::Hasher);

impl MemorySum {
    fn new() -> Self {
        Self(crc32fast::Hasher::new())
    }

    /// Takes a chunk of RAM; answers with the runs of pages in it that are not zero.
    fn take(&mut self, first_page: u64, chunk: &[u8]) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (number, page) in chunk.chunks(PAGE).enumerate() {
            if page.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.0.update(&(first_page + number as u64).to_le_bytes());
            self.0.update(page);
            let (start, end) = (number * PAGE, number * PAGE + page.len());
            match runs.last_mut().filter(|run| run.end == start) {
                Some(run) => run.end = end,
                None => runs.push(start..end),
            }
        }
        runs
    }
}

/// Calls `act` with the offset in RAM, and with the region and the place in it, of each chunk.
fn by_chunks(
    memory: &GuestMemoryMmap,
    mut act: impl FnMut(u64, &GuestRegionMmap, u64, usize) -> Result<()>,
) -> Result<()> {
    let mut base = 0;
    for region in memory.iter() {
        let mut at = 0;
        while at < region.len() {
            let size = usize::try_from(region.len() - at).unwrap_or(CHUNK).min(CHUNK);
            act(base + at, region, at, size)?;
            at += size as u64;
        }
        base += region.len();
    }
    Ok(())
}

fn write_memory(file: &mut File, offset: u64, memory: &GuestMemoryMmap) -> Result<u32> {
    let (mut sum, mut buffer) = (MemorySum::new(), vec![0; CHUNK]);
    by_chunks(memory, |place, region, at, size| {
        let chunk = &mut buffer[..size];
        region.read_slice(chunk, MemoryRegionAddress(at))?;
        for run in sum.take(place / PAGE as u64, chunk) {
            file.seek(SeekFrom::Start(offset + place + run.start as u64))?;
            file.write_all(&chunk[run])?;
        }
        Ok(())
    })?;
    Ok(sum.0.finalize())
}

/// A file that is a whole snapshot as far as its header says so.
pub(super) struct Opened {
    file: File,
    memory_offset: u64,
    memory_length: u64,
    memory_checksum: u32,
}

/// Reads header and state, and validates them.
///
/// # Errors
/// By name what is wrong with the file, or the system call that failed.
pub(super) fn open(mut file: File) -> Result<(Vec<u8>, Opened)> {
    let metadata = file.metadata().context("cannot look at it")?;
    if !metadata.is_file() {
        bail!("it is not a regular file");
    }
    let mut bytes = [0; size_of::<Header>()];
    if file.read_exact(&mut bytes).is_err() || bytes[..MAGIC.len()] != MAGIC {
        bail!("it is not a snapshot of `pvir save`, or one that was not finished");
    }
    let header = Header::read_from_bytes(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    if header.version.get() != VERSION {
        bail!("it is of version {}, and this program knows version {VERSION}", header.version);
    }
    if header.checksum.get() != header.sum() {
        bail!("it is damaged: the checksum of its header is wrong");
    }
    let (state_length, memory_offset) = (header.state_length.get(), header.memory_offset.get());
    let memory_length = header.memory_length.get();
    let end = memory_offset.checked_add(memory_length);
    let fits = state_length <= MAX_STATE
        && memory_offset == (HEADER + state_length).next_multiple_of(PAGE as u64)
        && end == Some(metadata.len());
    if !fits {
        bail!(
            "it has {} bytes, and its header says otherwise: it was cut off, or something was added",
            metadata.len()
        );
    }
    let mut state = vec![0; usize::try_from(state_length)?];
    file.read_exact(&mut state).context("cannot read its state")?;
    let padding = usize::try_from(memory_offset - HEADER - state_length)?;
    let mut zeros = vec![0; padding];
    file.read_exact(&mut zeros).context("cannot read its state")?;
    if crc32fast::hash(&state) != header.state_checksum.get() || zeros.iter().any(|byte| *byte != 0) {
        bail!("it is damaged: the checksum of its state is wrong");
    }
    let memory_checksum = header.memory_checksum.get();
    Ok((state, Opened { file, memory_offset, memory_length, memory_checksum }))
}

impl Opened {
    /// Reads RAM, which is zero, and validates it.
    ///
    /// # Errors
    /// If the machine has another amount of it, if it is damaged, or the system call that failed.
    pub(super) fn read_memory(mut self, memory: &GuestMemoryMmap) -> Result<()> {
        let here: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
        if here != self.memory_length {
            bail!("it has {} bytes of RAM, and this machine has {here}", self.memory_length);
        }
        let (mut sum, mut buffer) = (MemorySum::new(), vec![0; CHUNK]);
        self.file.seek(SeekFrom::Start(self.memory_offset)).context("cannot read its RAM")?;
        by_chunks(memory, |place, region, at, size| {
            let chunk = &mut buffer[..size];
            self.file.read_exact(chunk).context("cannot read its RAM")?;
            for run in sum.take(place / PAGE as u64, chunk) {
                region.write_slice(&chunk[run.clone()], MemoryRegionAddress(at + run.start as u64))?;
            }
            Ok(())
        })?;
        if sum.0.finalize() != self.memory_checksum {
            bail!("it is damaged: the checksum of its RAM is wrong");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
