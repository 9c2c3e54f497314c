//! A kernel as an ELF file (System V Application Binary Interface, "Object Files").

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// Fields of the file's header: `e_entry`, `e_phoff`, `e_phentsize`, `e_phnum`.
const ENTRY: usize = 24;
const HEADERS: usize = 32;
const HEADER_SIZE: usize = 54;
const HEADER_COUNT: usize = 56;
const LOAD: u64 = 1;
const PAGE: u64 = 4096;

/// What is loaded of a kernel.
pub(super) struct Image<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Physical address of the first instruction, where the parts are where they are linked.
    pub(super) entry: u64,
}

/// What stands in one piece.
pub(super) struct Part<'a> {
    pub(super) content: &'a [u8],
    /// Physical.
    pub(super) address: u64,
    /// Bytes, in whole pages; zero from the content's end.
    pub(super) size: u64,
}

impl<'a> Image<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self> {
        ensure!(file.starts_with(MAGIC), "the kernel is no ELF file of 64 bits");
        let first = usize::try_from(number(file, HEADERS, 8)?)?;
        let size = usize::try_from(number(file, HEADER_SIZE, 2)?)?;
        let count = usize::try_from(number(file, HEADER_COUNT, 2)?)?;
        let mut parts = Vec::new();
        for at in (0..count).map(|index| first + index * size) {
            if number(file, at, 4)? != LOAD {
                continue;
            }
            let [offset, length] = [at + 8, at + 32].map(|at| number(file, at, 8));
            let (offset, length) = (usize::try_from(offset?)?, usize::try_from(length?)?);
            let end = offset.checked_add(length).context("a part that wraps")?;
            parts.push(Part {
                content: file.get(offset..end).context("a part beyond the end of the file")?,
                address: number(file, at + 24, 8)?,
                size: number(file, at + 40, 8)?.next_multiple_of(PAGE),
            });
        }
        Ok(Self { parts, entry: number(file, ENTRY, 8)? })
    }

    /// Behind the last part.
    pub(super) fn end(&self) -> u64 {
        self.parts.iter().map(|part| part.address + part.size).max().unwrap_or(0)
    }
}

/// A little-endian number of up to 8 bytes.
fn number(file: &[u8], at: usize, size: usize) -> Result<u64> {
    let bytes = at.checked_add(size).and_then(|end| file.get(at..end)).context("a header that is cut off")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
