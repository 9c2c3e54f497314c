//! Finds or fetches what the lab needs beyond this source tree: QEMU, busybox, and a kernel for L1.
//!
//! Nothing is installed: packages are fetched through the machine's own apt and unpacked into the cache, which needs no
//! root and leaves the machine as it is. A component is complete as soon as its folder exists, because it is made under
//! another name; its name holds a hash of its recipe, so that a newer recipe makes a new one.

mod apt;
mod cache;
mod headers;
mod kernel;
mod l1;
mod own_modules;
mod patches;
mod source;
mod tools;
mod version;

pub(crate) use cache::Cache;
pub(crate) use headers::Headers;
pub(crate) use kernel::Kernel;
pub(crate) use l1::{L1, Modules};
pub(crate) use tools::Tools;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use apt::Apt;

/// Raised when other kernels are to be listed.
const RELEASES_RECIPE: u32 = 1;
/// Raised when a package of others is unpacked otherwise.
const PACKAGE_RECIPE: u32 = 1;
const KERNELS: &str = "kernels";
const MISSING: &str = "headers of Debian's kernels are";

/// What was found since this program started: it is looked for once.
static READY: Mutex<Option<Setup>> = Mutex::new(None);

/// The same for each L1 that is not the usual one.
static OTHERS: Mutex<Vec<((Kernel, Modules), L1)>> = Mutex::new(Vec::new());

/// Everything fetched that the lab runs on.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) cache: Cache,
    pub(crate) tools: Tools,
    /// The usual one.
    pub(crate) l1: L1,
}

impl Setup {
    /// Finds everything, fetching what is missing, once in the life of this program: who comes meanwhile waits.
    pub(crate) fn ready() -> Result<Self> {
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(setup) = &*ready {
            return Ok(setup.clone());
        }
        let cache = Cache::open()?;
        let tools = Tools::ready(&cache)?;
        let l1 = L1::ready(&cache, &tools, &Kernel::Usual, Modules::Debian)?;
        Ok(ready.insert(Self { cache, tools, l1 }).clone())
    }

    /// The headers of the lab's kernel.
    pub(crate) fn headers(&self) -> Result<Headers> {
        let release = self.l1.release();
        Headers::ready(&self.cache, release, || Apt::open(&self.cache, "headers of the lab's kernel are"))
    }

    /// The kernel's `checkpatch.pl`, from the source of the lab's kernel.
    pub(crate) fn checkpatch(&self) -> Result<PathBuf> {
        let source = source::ready(&self.cache, &self.tools, self.l1.identity())?;
        Ok(source.join(source::CHECKPATCH))
    }

    /// An L1 with this kernel and these modules, fetched or built where it is not yet: once in the life of this program.
    pub(crate) fn l1_with(&self, kernel: &Kernel, modules: Modules) -> Result<L1> {
        if (kernel, modules) == (&Kernel::Usual, Modules::Debian) {
            return Ok(self.l1.clone());
        }
        let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = (kernel.clone(), modules);
        if let Some((_, l1)) = others.iter().find(|(known, _)| *known == wanted) {
            return Ok(l1.clone());
        }
        let l1 = L1::ready(&self.cache, &self.tools, kernel, modules)?;
        others.push((wanted, l1.clone()));
        Ok(l1)
    }
}

/// The kernels of all of Debian's releases that there are headers of, oldest first, by what `uname -r` says on them.
pub(crate) fn kernels_with_headers() -> Result<Vec<String>> {
    let cache = Cache::open()?;
    let list = cache.component("kernels", RELEASES_RECIPE, |folder| {
        let apt = Apt::open_all_releases(&cache, MISSING)?;
        Ok(fs::write(folder.join(KERNELS), apt.kernels_with_headers()?.join("\n"))?)
    })?;
    Ok(fs::read_to_string(list.join(KERNELS))?.lines().map(str::to_owned).collect())
}

/// A small package of Debian's, unpacked into the cache and installed nowhere.
pub(crate) fn unpacked(package: &str) -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache.component(&format!("package-{package}"), PACKAGE_RECIPE, |folder| {
        let debs = folder.join("debs");
        Apt::open(&cache, &format!("{package} is"))?.download(&[package], &debs)?;
        let file = headers::file_of(&debs, package)?.context("apt-get download left no file")?;
        tools::unpack(&file, folder, &cache.setup_log())?;
        Ok(fs::remove_dir_all(&debs)?)
    })
}

/// The headers of one of them.
pub(crate) fn headers_of(release: &str) -> Result<Headers> {
    let cache = Cache::open()?;
    Headers::ready(&cache, release, || Apt::open_all_releases(&cache, MISSING))
}
