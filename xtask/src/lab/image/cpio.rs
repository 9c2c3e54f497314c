//! A writer of cpio archives in the "newc" form, which Linux unpacks as its initramfs.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail};

const MAGIC: &str = "070701";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

pub(super) struct Archive<W> {
    writer: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, entries: 0 }
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        self.entry(path, DIRECTORY | 0o755, 0, io::empty())
    }

    pub(super) fn symlink(&mut self, path: &str, target: &[u8]) -> Result<()> {
        self.entry(path, SYMLINK | 0o777, target.len() as u64, target)
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.file_from(path, mode, content.len() as u64, content)
    }

    /// A file whose `length` bytes come from a reader.
    pub(super) fn file_from(&mut self, path: &str, mode: u32, length: u64, content: impl Read) -> Result<()> {
        self.entry(path, REGULAR | (mode & 0o7777), length, content)
    }

    /// Ends the archive; another may follow in the same file.
    pub(super) fn finish(mut self) -> Result<W> {
        self.entry("TRAILER!!!", 0, 0, io::empty())?;
        Ok(self.writer)
    }

    fn entry(&mut self, path: &str, mode: u32, length: u64, content: impl Read) -> Result<()> {
        self.entries += 1;
        let Ok(size) = u32::try_from(length) else {
            bail!("{path} is too large for an initramfs ({length} bytes)");
        };
        let name_size = u32::try_from(path.len() + 1).context("a name too long for an initramfs")?;
        // inode, mode, uid, gid, links, time, size, device (two numbers), special device (two), name's size, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = MAGIC.to_owned();
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(path);
        header.push('\0');
        self.writer.write_all(header.as_bytes())?;
        self.pad(header.len() as u64)?;

        let copied = io::copy(&mut content.take(length), &mut self.writer)
            .with_context(|| format!("cannot put {path} into the initramfs"))?;
        if copied != length {
            bail!("{path} became shorter while it was read");
        }
        self.pad(length)
    }

    /// Headers and contents start at multiples of four.
    fn pad(&mut self, written: u64) -> Result<()> {
        let missing = usize::try_from(written.wrapping_neg() % 4)?;
        Ok(self.writer.write_all(&[0; 4][..missing])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_bytes_of_the_format() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();

        let header = "070701000000010000\
                      81a40000000000000000000000010000000000000005000000000000000000000000000000000000000400000000";
        assert_eq!(std::str::from_utf8(&bytes[..110]).unwrap(), header);
        assert_eq!(&bytes[110..116], b"a/b\0\0\0", "name, padded so that the content starts at 116");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_file_that_is_shorter_than_it_said_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file_from("short", 0o644, 10, b"bytes".as_slice()).is_err());
    }

    #[test]
    fn a_file_too_large_for_the_format_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        let error = archive.file_from("huge", 0o644, 1 << 32, io::empty()).unwrap_err();
        assert!(error.to_string().contains("huge"));
    }
}
