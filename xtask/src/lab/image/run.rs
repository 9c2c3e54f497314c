//! The part of the initramfs that belongs to one run: our programs, the test kernel, the payload.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab_wire::{BIN_DIR, INITRD_FILE, KERNEL_FILE, LINUX_FILE, PAYLOAD_DIR};

use super::base::relative;
use super::cpio::Archive;
use super::guest;

/// What a run adds.
pub(crate) struct Contents<'a> {
    /// The first program.
    pub(crate) init: &'a Path,
    /// Programs for `PATH`.
    pub(crate) programs: &'a [PathBuf],
    /// The test kernel.
    pub(crate) kernel: &'a Path,
    /// Kernel and initramfs (without its scripts) of a Linux guest, and modules for it.
    pub(crate) linux: Option<(&'a Path, &'a Path, &'a [PathBuf])>,
    /// A folder of the user's.
    pub(crate) payload: Option<&'a Path>,
}

/// Writes the base image and the run's part to `path`, as one file.
pub(crate) fn write(path: &Path, base: &Path, contents: &Contents) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut base_file = File::open(base).with_context(|| format!("cannot open {}", base.display()))?;
    io::copy(&mut base_file, &mut file).with_context(|| format!("cannot write {}", path.display()))?;

    let mut archive = Archive::new(BufWriter::new(file));
    add(&mut archive, "init", contents.init)?;
    for program in contents.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add(&mut archive, &format!("{}/{name}", relative(BIN_DIR)), program)?;
    }
    add(&mut archive, relative(KERNEL_FILE), contents.kernel)?;
    if let Some((kernel, initramfs, modules)) = contents.linux {
        add(&mut archive, relative(LINUX_FILE), kernel)?;
        archive.file(relative(INITRD_FILE), 0o644, &guest::initramfs(initramfs, modules)?)?;
    }
    if let Some(payload) = contents.payload {
        add_folder(&mut archive, relative(PAYLOAD_DIR), payload)?;
    }
    archive.finish()?.flush().with_context(|| format!("cannot write {}", path.display()))
}

fn add(archive: &mut Archive<impl Write>, name: &str, path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata()?;
    archive.file_from(name, metadata.permissions().mode(), metadata.len(), file)
}

fn add_folder(archive: &mut Archive<impl Write>, name: &str, folder: &Path) -> Result<()> {
    archive.directory(name)?;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let file_name = path.file_name().and_then(|name| name.to_str());
        let file_name =
            file_name.with_context(|| format!("{} has a name that is not UTF-8", path.display()))?;
        let inner = format!("{name}/{file_name}");
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            add_folder(archive, &inner, &path)?;
        } else if kind.is_symlink() {
            archive.symlink(&inner, fs::read_link(&path)?.as_os_str().as_bytes())?;
        } else if kind.is_file() {
            add(archive, &inner, &path)?;
        }
    }
    Ok(())
}
