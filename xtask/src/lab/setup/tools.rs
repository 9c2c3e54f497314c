//! The programs that make and run L1.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::cache::Cache;
use crate::process;
use crate::progress::step;

/// Older ones have no x2APIC without KVM.
const OLDEST_QEMU: u32 = 9;
const QEMU: &str = "qemu-system-x86_64";
const QEMU_PACKAGE: &str = "qemu-system-x86";
/// Fetched whatever the machine has: they are small, and must be these builds or cost little.
const PACKAGES: [&str; 3] = ["busybox-static", "zstd", "xz-utils"];
/// Raised when what follows makes another folder of the same packages.
const RECIPE: u32 = 1;

#[derive(Clone)]
pub(crate) struct Tools {
    /// Packages unpacked.
    root: PathBuf,
    /// QEMU, if the machine's own is good enough.
    own_qemu: Option<PathBuf>,
}

impl Tools {
    pub(super) fn ready(cache: &Cache) -> Result<Self> {
        let own_qemu = process::find(QEMU)
            .filter(|qemu| version_of(&mut Command::new(qemu)).is_ok_and(|version| version >= OLDEST_QEMU));
        let root = cache.component("tools", (RECIPE, own_qemu.is_some()), |folder| {
            fetch(cache, folder, own_qemu.is_none())
        })?;
        let tools = Self { root, own_qemu };
        if tools.own_qemu.is_none() {
            version_of(&mut tools.qemu()).with_context(|| {
                format!("the cached QEMU does not run; help: remove {} and try again", tools.root.display())
            })?;
        }
        Ok(tools)
    }

    /// QEMU for x86-64, ready to be given arguments.
    pub(crate) fn qemu(&self) -> Command {
        match &self.own_qemu {
            Some(path) => Command::new(path),
            None => {
                let mut qemu = self.unpacked(QEMU);
                for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                    qemu.arg("-L").arg(self.root.join(data));
                }
                qemu
            }
        }
    }

    pub(crate) fn zstd(&self) -> Command {
        self.unpacked("zstd")
    }

    pub(crate) fn xz(&self) -> Command {
        self.unpacked("xz")
    }

    /// The statically linked shell and small tools of L1.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.program("busybox")
    }

    fn program(&self, name: &str) -> PathBuf {
        let places = ["usr/bin", "bin"].map(|folder| self.root.join(folder).join(name));
        let [usual, _] = &places;
        places.iter().find(|path| path.exists()).unwrap_or(usual).clone()
    }

    /// A program of the packages, with the libraries that came along.
    fn unpacked(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        let libraries =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| self.root.join(folder));
        let path: OsString = std::env::join_paths(libraries).unwrap_or_default();
        command.env("LD_LIBRARY_PATH", path);
        command
    }
}

fn fetch(cache: &Cache, folder: &Path, with_qemu: bool) -> Result<()> {
    let what = if with_qemu { "QEMU 9 or newer and static busybox are" } else { "static busybox is" };
    let apt = Apt::open(cache, what)?;
    let debs = folder.join("debs");
    step("small tools", "busybox for the lab's machine; zstd and xz to unpack its kernel", || {
        apt.download(&PACKAGES, &debs)
    })?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(&debs)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    if with_qemu {
        let why = format!("to run the lab's machine; {}", why_not_own_qemu());
        files.extend(step("QEMU", why, || apt.download_closure(QEMU_PACKAGE))?);
    }
    for file in &files {
        unpack(file, folder, &cache.setup_log())?;
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}

fn why_not_own_qemu() -> String {
    let own = process::find(QEMU).and_then(|qemu| version_of(&mut Command::new(qemu)).ok());
    match own {
        Some(version) => format!("the machine's own is version {version}, but {OLDEST_QEMU} is needed"),
        None => "the machine has none".into(),
    }
}

/// Unpacks a Debian package, installing nothing.
pub(super) fn unpack(package: &Path, folder: &Path, log: &Path) -> Result<()> {
    process::run_logged(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder), log)
}

/// The major version that QEMU says it is.
fn version_of(qemu: &mut Command) -> Result<u32> {
    let text = process::output(qemu.arg("--version"))?;
    match parse_version(&text) {
        Some(major) => Ok(major),
        None => bail!("cannot understand QEMU's version: {}", text.lines().next().unwrap_or_default()),
    }
}

fn parse_version(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_qemu_is_read() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2)\nCopyright"), Some(10));
        assert_eq!(parse_version("QEMU emulator version 7.2.15"), Some(7));
        assert_eq!(parse_version("something else"), None);
    }
}
