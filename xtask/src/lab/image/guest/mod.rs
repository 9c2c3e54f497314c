//! What a Linux guest in L2 boots with: busybox and the drivers of some of the lab's devices, both Debian's, and scripts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::base;
use super::cpio::Archive;
use super::modules::Set;

/// Where modules are that the kernel's package does not have.
const MODULES: &str = "lib/guest/modules";
const INIT: &[u8] = include_bytes!("init.sh");
/// What `pvir.run=` on the guest's command line can name, and what these share.
const SCRIPTS: [(&str, &[u8]); 13] = [
    ("accesses", include_bytes!("accesses.sh")),
    ("device", include_bytes!("device.sh")),
    ("steps", include_bytes!("steps.sh")),
    ("life", include_bytes!("life.sh")),
    ("bench", include_bytes!("bench.sh")),
    ("interrupts", include_bytes!("interrupts.sh")),
    ("nvme", include_bytes!("nvme.sh")),
    ("unplug", include_bytes!("unplug.sh")),
    ("saves", include_bytes!("saves.sh")),
    ("virtio", include_bytes!("virtio.sh")),
    ("goes-on", include_bytes!("goes-on.sh")),
    ("crashed", include_bytes!("crashed.sh")),
    ("card", include_bytes!("card.sh")),
];

/// Writes the part that is the same for all runs.
pub(crate) fn write(writer: impl Write, release: &str, modules: &Set, busybox: &Path) -> Result<()> {
    let mut archive = Archive::new(writer);
    base::system(&mut archive, release, modules, busybox)?;
    archive.finish()?.flush().context("cannot write the guest's initramfs")
}

/// The whole initramfs: that part, the scripts, and modules of one's own.
pub(super) fn initramfs(base: &Path, modules: &[PathBuf]) -> Result<Vec<u8>> {
    let bytes = fs::read(base).with_context(|| format!("cannot read {}", base.display()))?;
    let mut archive = Archive::new(bytes);
    archive.file("init", 0o755, INIT)?;
    archive.directory("lib/guest")?;
    for (name, script) in SCRIPTS {
        archive.file(&format!("lib/guest/{name}"), 0o644, script)?;
    }
    archive.directory(MODULES)?;
    for module in modules {
        let content = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
        let name = module.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no name that is text", module.display()))?;
        archive.file(&format!("{MODULES}/{name}"), 0o644, &content)?;
    }
    archive.finish()
}
