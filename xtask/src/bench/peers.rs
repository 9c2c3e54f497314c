//! The VMMs that users have, as far as they are at hand, in a folder that travels into the lab.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::figures::Way;
use crate::process;
use crate::setup::Setup;

/// Names a Cloud Hypervisor, linked statically as its releases are.
const CLOUD_HYPERVISOR: &str = "PVIR_CLOUD_HYPERVISOR";
/// What QEMU needs to boot a kernel by PVH.
const ROMS: [&str; 3] = ["bios-256k.bin", "pvh.bin", "kvmvapic.bin"];

/// The folder, and who is in it.
pub(super) struct Peers {
    folder: TempDir,
    cloud_hypervisor: bool,
}

impl Peers {
    /// Copies them; answers also with who is missing.
    pub(super) fn collect(setup: &Setup) -> Result<(Self, Vec<String>)> {
        let folder = tempfile::tempdir()?;
        qemu(&setup.tools.qemu(), &folder.path().join("qemu")).context("cannot take QEMU along")?;
        let given = env::var_os(CLOUD_HYPERVISOR).map(PathBuf::from);
        if let Some(path) = &given {
            copy(path, &folder.path().join("cloud-hypervisor"))?;
        }
        let cloud_hypervisor = given.is_some();
        let missing = format!("Cloud Hypervisor: {CLOUD_HYPERVISOR} names no binary of it");
        let skipped = if cloud_hypervisor { Vec::new() } else { vec![missing] };
        Ok((Self { folder, cloud_hypervisor }, skipped))
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// In the order in which they take turns.
    pub(super) fn ways(&self) -> impl Iterator<Item = Way> {
        Way::ALL.into_iter().filter(|way| *way != Way::CloudHypervisor || self.cloud_hypervisor)
    }
}

/// The program, the libraries that the loader finds for it, and its ROMs.
fn qemu(qemu: &Command, folder: &Path) -> Result<()> {
    let [lib, rom] = ["lib", "rom"].map(|name| folder.join(name));
    for made in [&lib, &rom] {
        fs::create_dir_all(made)?;
    }
    let program = Path::new(qemu.get_program());
    copy(program, &folder.join("qemu"))?;
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LC_ALL", "C");
    ldd.envs(qemu.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let listed = process::output(&mut ldd)?;
    let libraries: Vec<&str> =
        listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).collect();
    ensure!(!libraries.is_empty(), "ldd lists no library: {listed}");
    for library in libraries {
        let name = Path::new(library).file_name().with_context(|| format!("ldd lists {library}"))?;
        copy(Path::new(library), &lib.join(name))?;
    }
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
