//! A file that is loaded into guest memory, maybe again.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// An open file, and what the user calls it.
#[derive(Debug)]
pub(super) struct ImageFile {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl ImageFile {
    /// Opens a regular file: nothing else has an end that is known.
    pub(super) fn open(flag: &'static str, path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {flag} {}", path.display());
        // So that opening a pipe does not wait for a writer. Regular files do not care.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = file.with_context(cannot)?;
        if !file.metadata().with_context(cannot)?.is_file() {
            bail!("{flag} {} is no regular file", path.display());
        }
        Ok(Self { flag, path: path.to_owned(), file })
    }

    /// Where it was when it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is now, of at most so many bytes.
    pub(super) fn read(&self, most: u64) -> Result<Vec<u8>> {
        let Self { flag, path, file } = self;
        let mut file: &File = file;
        let cannot = || format!("cannot read {flag} {}", path.display());
        let size = file.metadata().with_context(cannot)?.len();
        if size > most {
            bail!("{flag} {} has {} MiB, and may have {} MiB", path.display(), size >> 20, most >> 20);
        }
        let mut content = Vec::new();
        file.rewind().with_context(cannot)?;
        // It may grow meanwhile.
        file.take(most).read_to_end(&mut content).with_context(cannot)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_each_time_also_when_its_name_has_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"kernel").unwrap();
        let image = ImageFile::open("kernel", file.path()).unwrap();
        file.close().unwrap();
        assert_eq!(
            (image.read(6).unwrap(), image.read(6).unwrap()),
            (b"kernel".to_vec(), b"kernel".to_vec())
        );
        let refused = image.read(5).unwrap_err().to_string();
        assert!(
            refused.starts_with("kernel /") && refused.ends_with("has 0 MiB, and may have 0 MiB"),
            "{refused}"
        );
    }
}
