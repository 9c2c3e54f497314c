//! The kernel of L1 and the part of its initramfs that is the same for every run.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::Cache;
use super::kernel::{self, Identity, Kernel};
use super::own_modules;
use super::tools::Tools;
use crate::lab::image::modules::{GUEST, LOADED, SHIPPED, Set};
use crate::lab::image::{self, base, guest, vmlinux};
use crate::progress::step;

/// Raised when the same package makes another folder.
const RECIPE: u32 = 3;

const BASE: &str = "base.cpio";
const GUEST_BASE: &str = "guest.cpio";
const MODULES: &str = "modules";

/// Which modules of VFIO L1 loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Modules {
    /// Those of its kernel's package, which know groups and containers.
    #[default]
    Debian,
    /// Those that are built for its kernel, which know iommufd and the device's own file too.
    Iommufd,
    /// These, with our own patches (`docs/kernel/`).
    Patched,
}

#[derive(Clone)]
pub(crate) struct L1 {
    folder: PathBuf,
    initramfs: PathBuf,
    identity: Identity,
}

impl L1 {
    pub(super) fn ready(cache: &Cache, tools: &Tools, kernel: &Kernel, modules: Modules) -> Result<Self> {
        let (name, of_file) = kernel.recipe()?;
        let recipe = (RECIPE, image::RECIPE, LOADED, SHIPPED, GUEST, of_file);
        let folder = cache.component(&name, recipe, |folder| make(cache, tools, kernel, folder))?;
        let identity = Identity::read(&folder)?;
        let initramfs = match modules {
            Modules::Debian => folder.join(BASE),
            Modules::Iommufd | Modules::Patched => {
                own_modules::ready(cache, tools, &identity, &folder.join(MODULES), modules)?
            }
        };
        Ok(Self { folder, initramfs, identity })
    }

    /// The uncompressed kernel.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The initramfs, to which each run appends its own part.
    pub(crate) fn initramfs(&self) -> &Path {
        &self.initramfs
    }

    /// The initramfs of a Linux guest in L2, without its scripts. Its kernel is L1's.
    pub(crate) fn guest_initramfs(&self) -> PathBuf {
        self.folder.join(GUEST_BASE)
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The kernel's name of itself, which is that of a Linux guest's too.
    pub(crate) fn release(&self) -> &str {
        &self.identity.release
    }

    /// The first number of the kernel's release.
    pub(crate) fn major(&self) -> u32 {
        self.identity.major()
    }
}

fn make(cache: &Cache, tools: &Tools, kernel: &Kernel, folder: &Path) -> Result<()> {
    let unpacked = folder.join("package");
    fs::create_dir(&unpacked)?;
    let identity = kernel.unpack(cache, &unpacked)?;
    step("the lab's kernel", format!("unpacking {} and its modules", identity.release), || {
        let (vmlinuz, release) = kernel::vmlinuz(&unpacked)?;
        vmlinux::extract(&vmlinuz, &folder.join("vmlinux"), tools)?;

        let tree = kernel::modules(&unpacked, &release)?;
        let names = LOADED.into_iter().chain(SHIPPED);
        let set = Set::collect(names, &[&tree], tools)?;
        let file = File::create(folder.join(BASE))?;
        base::write(BufWriter::new(file), &release, &set, &LOADED, &tools.busybox())?;
        set.keep(&tree, &folder.join(MODULES))?;
        let set = Set::collect(GUEST, &[&tree], tools)?;
        let file = File::create(folder.join(GUEST_BASE))?;
        guest::write(BufWriter::new(file), &release, &set, &tools.busybox())?;
        identity.write(folder)?;
        fs::remove_dir_all(&unpacked).context("cannot remove what was unpacked")
    })
}
