//! The source of the lab's kernel, as far as modules are built from it: Debian's package of the very version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::cache::Cache;
use super::headers::file_of;
use super::kernel::Identity;
use super::tools::{Tools, unpack};
use crate::progress::step;

/// Raised when the same package makes another folder.
const RECIPE: u32 = 1;
const PREFIX: &str = "linux-source-";
/// What is kept of it, which is a hundredth.
const KEPT: [&str; 7] = [
    "drivers/vfio",
    "drivers/iommu/iommufd",
    "drivers/iommu/iommu-priv.h",
    "lib/interval_tree.c",
    "include/uapi/linux",
    "arch/x86/kvm",
    "virt",
];

/// What looks at the form of a source, from there.
const SCRIPTS: [&str; 3] = [CHECKPATCH, "scripts/spelling.txt", "scripts/const_structs.checkpatch"];
pub(super) const CHECKPATCH: &str = "scripts/checkpatch.pl";

/// Finds it, or fetches some 160 MB, of which 10 are kept.
///
/// # Errors
///
/// Also where the archive has this version no more.
pub(super) fn ready(cache: &Cache, tools: &Tools, kernel: &Identity) -> Result<PathBuf> {
    if kernel.version.is_empty() {
        bail!("{} is in no package, so its source is not known", kernel.release);
    }
    let recipe = (RECIPE, KEPT, SCRIPTS, &kernel.version);
    cache.component(&format!("source-{}", kernel.release), recipe, |folder| {
        fetch(cache, tools, kernel, folder)
    })
}

fn fetch(cache: &Cache, tools: &Tools, kernel: &Identity, folder: &Path) -> Result<()> {
    let series = series(&kernel.release).with_context(|| format!("{} is no version", kernel.release))?;
    let name = format!("{PREFIX}{series}");
    let apt = kernel.view.open(cache, "the source of the lab's kernel is")?;
    step(&name, "to build modules for the lab's kernel, 160 MB", || {
        let debs = folder.join("debs");
        apt.download(&[&format!("{name}={}", kernel.version)], &debs)?;
        let package = file_of(&debs, &name)?.context("apt-get download left no file")?;
        unpack(&package, &debs, &cache.setup_log())?;
        let archive = debs.join(format!("usr/src/{name}.tar.xz"));
        extract(tools, &archive, &name, folder)?;
        fs::remove_dir_all(&debs).context("cannot remove the package")
    })
}

/// Takes what is wanted out of the archive.
fn extract(tools: &Tools, archive: &Path, top: &str, folder: &Path) -> Result<()> {
    let mut xz = tools.xz();
    xz.args(["--decompress", "--stdout", "--threads=0"]).arg(archive).stdout(Stdio::piped());
    let mut xz = xz.spawn().context("cannot start xz")?;
    let tar = Command::new("tar")
        .args(["-x", "-f", "-", "--strip-components=1", "-C"])
        .arg(folder)
        .args(KEPT.iter().chain(&SCRIPTS).map(|part| format!("{top}/{part}")))
        .stdin(xz.stdout.take().context("xz has no output")?)
        .output();
    let unpacked = xz.wait()?;
    let tar = tar.context("cannot start tar")?;
    ensure!(tar.status.success(), "tar: {}", String::from_utf8_lossy(&tar.stderr).trim_end());
    ensure!(unpacked.success(), "xz {}: {unpacked}", archive.display());
    Ok(())
}

/// `6.12` of `6.12.95+deb12-amd64`.
fn series(release: &str) -> Option<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next()?, numbers.next()?);
    (!major.is_empty() && !minor.is_empty()).then(|| format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_sources_is_named_after_the_series() {
        assert_eq!(series("6.12.95+deb12-amd64").as_deref(), Some("6.12"));
        assert_eq!(series("6.1.0-57-amd64").as_deref(), Some("6.1"));
        assert_eq!(series("mine"), None);
    }
}
