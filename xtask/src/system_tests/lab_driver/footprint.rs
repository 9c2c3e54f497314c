//! What is held for a VM, so that it can be seen that nothing more is held later.

use std::fs;

use anyhow::{Context, Result};

use crate::vm::Vm;

/// What the process and the host hold for the VM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Open files, by what they are.
    files: Vec<String>,
    /// Interrupts of VFIO.
    interrupts: usize,
    irtes: usize,
}

impl Footprint {
    /// What is held now.
    ///
    /// # Errors
    /// If the kernel or the VM does not tell.
    pub(crate) fn of(vm: &mut Vm) -> Result<Self> {
        let folder = format!("/proc/{}/fd", vm.pid());
        let links = fs::read_dir(&folder).with_context(|| folder.clone())?;
        let mut files: Vec<String> = links
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        files.sort_unstable();
        let table = fs::read_to_string("/proc/interrupts")?;
        let interrupts = table.lines().filter(|line| line.contains("vfio-msi")).count();
        let counts = vm.counts()?;
        let irtes = counts["interrupts"].as_array().map_or(0, Vec::len);
        Ok(Self { files, interrupts, irtes })
    }
}
