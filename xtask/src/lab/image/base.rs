//! The part of the initramfs that is the same for all runs: busybox, modules, empty folders.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lab_wire::{BIN_DIR, MODULE_LIST, OUT_DIR, PAYLOAD_DIR};

use super::cpio::Archive;
use super::modules::Set;
use crate::process;

const FOLDERS: [&str; 10] = ["bin", "dev", "etc", "lib", "proc", "root", "run", "sys", "tmp", "usr"];
const MODULES: &str = "lib/modules";

/// Writes the archive of L1, which loads `loaded` and what they depend on as it starts.
pub(crate) fn write(
    writer: impl Write,
    release: &str,
    modules: &Set,
    loaded: &[&str],
    busybox: &Path,
) -> Result<()> {
    let mut archive = Archive::new(writer);
    system(&mut archive, release, modules, busybox)?;
    for folder in ["/lab", BIN_DIR, PAYLOAD_DIR, OUT_DIR] {
        archive.directory(relative(folder))?;
    }
    let list: String =
        modules.load_order(loaded)?.iter().map(|name| format!("/{MODULES}/{release}/{name}.ko\n")).collect();
    archive.file(relative(MODULE_LIST), 0o644, list.as_bytes())?;
    archive.finish()?.flush().context("cannot write the initramfs")
}

/// What every small Linux has: folders, busybox, modules.
pub(super) fn system(
    archive: &mut Archive<impl Write>,
    release: &str,
    modules: &Set,
    busybox: &Path,
) -> Result<()> {
    for folder in FOLDERS {
        archive.directory(folder)?;
    }
    for (link, target) in [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin")] {
        archive.symlink(link, target.as_bytes())?;
    }
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/group", 0o644, b"root:x:0:\n")?;

    let content = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.file("bin/busybox", 0o755, &content)?;
    for applet in process::output(Command::new(busybox).arg("--list"))?.lines() {
        if applet != "busybox" {
            archive.symlink(&format!("bin/{applet}"), b"busybox")?;
        }
    }

    let folder = format!("{MODULES}/{release}");
    for folder in [MODULES, &folder] {
        archive.directory(folder)?;
    }
    for (name, content) in modules.iter() {
        archive.file(&format!("{folder}/{name}.ko"), 0o644, content)?;
    }
    archive.file(&format!("{folder}/modules.dep"), 0o644, modules.modules_dep()?.as_bytes())
}

/// Names in an archive have no slash before them.
pub(super) fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}
