//! The VMMs that users have, as far as they are at hand, in a folder that travels into the lab.

mod program;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::what::Way;
use crate::lab::setup::Setup;
use crate::process;

/// Names a Cloud Hypervisor.
const CLOUD_HYPERVISOR: &str = "PVIR_CLOUD_HYPERVISOR";
/// What QEMU needs to boot a kernel by PVH.
const ROMS: [&str; 3] = ["bios-256k.bin", "pvh.bin", "kvmvapic.bin"];

/// A Cloud Hypervisor that the user has named, and that runs.
pub(super) struct CloudHypervisor {
    path: PathBuf,
    version: String,
}

/// The one that is named, or the one that the environment names, if it does. Fails if that is none, so that nobody waits
/// for a measurement without it.
pub(super) fn cloud_hypervisor(named: Option<&Path>) -> Result<Option<CloudHypervisor>> {
    let by_environment = || env::var_os(CLOUD_HYPERVISOR).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (who, path) = match (named, by_environment()) {
        (Some(path), _) => ("--cloud-hypervisor", path.to_path_buf()),
        (None, Some(path)) => (CLOUD_HYPERVISOR, path),
        (None, None) => return Ok(None),
    };
    let found = examine(&path);
    Ok(Some(found.with_context(|| format!("{who} names {}", path.display()))?))
}

fn examine(path: &Path) -> Result<CloudHypervisor> {
    // a name without a slash would be looked for on PATH
    let path = path.canonicalize().context("it cannot be found")?;
    ensure!(path.is_file(), "it is no file");
    let version = version(&mut Command::new(&path))?;
    ensure!(version.starts_with("cloud-hypervisor"), "it says that it is {version:?}");
    Ok(CloudHypervisor { path, version })
}

/// The first line of what a program says of itself.
fn version(program: &mut Command) -> Result<String> {
    Ok(process::output(program.arg("--version"))?.lines().next().unwrap_or_default().to_owned())
}

/// The folder, and who is in it.
pub(super) struct Peers {
    folder: TempDir,
    cloud_hypervisor: bool,
    /// What each of them says that it is.
    pub(super) versions: Vec<String>,
    /// Who is missing, and why.
    pub(super) skipped: Vec<String>,
}

impl Peers {
    /// Copies them.
    pub(super) fn collect(setup: &Setup, cloud_hypervisor: Option<&CloudHypervisor>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let inside = |way: Way| folder.path().join(way.name());
        qemu(&setup.tools.qemu(), &inside(Way::Qemu)).context("cannot take QEMU along")?;
        let mut versions = vec![version(&mut setup.tools.qemu())?];
        let mut skipped = Vec::new();
        if let Some(CloudHypervisor { path, version }) = cloud_hypervisor {
            program::take(&Command::new(path), &inside(Way::CloudHypervisor))
                .context("cannot take Cloud Hypervisor along")?;
            versions.push(version.clone());
        } else {
            skipped.push(format!(
                "Cloud Hypervisor: neither --cloud-hypervisor nor {CLOUD_HYPERVISOR} names a binary of it"
            ));
        }
        Ok(Self { folder, cloud_hypervisor: cloud_hypervisor.is_some(), versions, skipped })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// In the order in which they take turns.
    pub(super) fn ways(&self) -> impl Iterator<Item = Way> {
        Way::ALL.into_iter().filter(|way| *way != Way::CloudHypervisor || self.cloud_hypervisor)
    }
}

/// The program, and its ROMs.
fn qemu(qemu: &Command, folder: &Path) -> Result<()> {
    program::take(qemu, folder)?;
    let rom = folder.join("rom");
    fs::create_dir_all(&rom)?;
    let given = qemu.get_args().filter(|argument| *argument != "-L").map(PathBuf::from);
    let usual = ["/usr/share/qemu", "/usr/share/seabios"].map(PathBuf::from);
    let folders: Vec<PathBuf> = given.chain(usual).collect();
    for name in ROMS {
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        copy(&found.with_context(|| format!("no {name} in {folders:?}"))?, &rom.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why_not(path: &Path) -> String {
        examine(path).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn what_is_no_cloud_hypervisor_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "text").unwrap();
        assert!(why_not(&folder.path().join("absent")).contains("it cannot be found"));
        assert!(why_not(folder.path()).contains("it is no file"));
        assert!(why_not(&plain).contains("Permission denied"));
        assert!(why_not(Path::new("/bin/echo")).contains("it says that it is"), "another program");
    }
}
