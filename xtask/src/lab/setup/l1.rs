//! The kernel of L1 and the part of its initramfs that is the same for every run.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use super::headers::{self, file_of};
use super::tools::{Tools, unpack};
use crate::lab::image::{self, modules};
use crate::progress::step;

/// Raised when the same package makes another folder.
const RECIPE: u32 = 2;

const KERNEL_PREFIX: &str = "linux-image-";
const BASE: &str = "base.cpio";
const GUEST_BASE: &str = "guest.cpio";
const RELEASE: &str = "release";

#[derive(Clone)]
pub(crate) struct L1 {
    folder: PathBuf,
}

impl L1 {
    pub(super) fn ready(cache: &Cache, tools: &Tools) -> Result<Self> {
        let recipe = (RECIPE, image::RECIPE, modules::LOADED, modules::SHIPPED, modules::GUEST);
        let folder = cache.component("l1", recipe, |folder| make(cache, tools, folder))?;
        Ok(Self { folder })
    }

    /// The uncompressed kernel.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The initramfs, to which each run appends its own part.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.folder.join(BASE)
    }

    /// The initramfs of a Linux guest in L2, without its scripts. Its kernel is L1's.
    pub(crate) fn guest_initramfs(&self) -> PathBuf {
        self.folder.join(GUEST_BASE)
    }

    /// The kernel's name of itself, which is that of a Linux guest's too.
    pub(crate) fn release(&self) -> Result<String> {
        let file = self.folder.join(RELEASE);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}

fn make(cache: &Cache, tools: &Tools, folder: &Path) -> Result<()> {
    let package = fetch(cache)?;
    step("the lab's kernel", "unpacking it and its modules", || {
        let unpacked = folder.join("package");
        unpack(&package, &unpacked, &cache.setup_log())?;
        let (kernel, release) = find_kernel(&unpacked.join("boot"))?;
        fs::write(folder.join(RELEASE), &release)?;
        image::vmlinux::extract(&kernel, &folder.join("vmlinux"), tools)?;

        let tree = [format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")];
        let tree = tree.iter().map(|place| unpacked.join(place)).find(|place| place.is_dir());
        let tree = tree.with_context(|| format!("{} holds no modules", package.display()))?;
        let names = modules::LOADED.into_iter().chain(modules::SHIPPED);
        let modules = modules::Set::collect(names, &tree, tools)?;
        let file = File::create(folder.join(BASE))?;
        image::base::write(BufWriter::new(file), &release, &modules, &tools.busybox())?;
        let modules = modules::Set::collect(modules::GUEST, &tree, tools)?;
        let file = File::create(folder.join(GUEST_BASE))?;
        image::guest::write(BufWriter::new(file), &release, &modules, &tools.busybox())?;
        fs::remove_dir_all(&unpacked).context("cannot remove what was unpacked")
    })
}

/// The newest kernel's package: it is large, so it is kept although the cached result would do. Its headers are fetched with
/// it, for there are none of an old kernel; without them only the tests of the module for Linux guests are skipped.
fn fetch(cache: &Cache) -> Result<PathBuf> {
    let apt = Apt::open(cache, "a kernel for the lab is")?;
    let name = apt.newest_kernel()?;
    let debs = cache.path("debs");
    let package = match file_of(&debs, &name)? {
        Some(file) => file,
        None => step(&name, "the kernel of the lab's machine, about 100 MB", || {
            let partial = debs.join("partial");
            apt.download(&[&name], &partial)?;
            let file = file_of(&partial, &name)?.context("apt-get download left no file")?;
            let kept = debs.join(file.file_name().context("a package without a name")?);
            fs::rename(&file, &kept)?;
            Ok(kept)
        })?,
    };
    let release = name.strip_prefix(KERNEL_PREFIX).unwrap_or(&name);
    if let Err(error) = headers::fetch(&apt, &debs, release) {
        eprintln!("no headers of the lab's kernel, for the module of Linux guests: {error:#}");
    }
    Ok(package)
}

/// The compressed kernel and its release.
fn find_kernel(boot: &Path) -> Result<(PathBuf, String)> {
    for entry in fs::read_dir(boot).with_context(|| format!("cannot list {}", boot.display()))? {
        let entry = entry?;
        if let Some(release) = entry.file_name().to_string_lossy().strip_prefix("vmlinuz-") {
            return Ok((entry.path(), release.to_owned()));
        }
    }
    anyhow::bail!("{} holds no vmlinuz", boot.display())
}
