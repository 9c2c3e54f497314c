//! KVM's own counters. They last as long as the VM: read them before it ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::print;

const FOLDER: &str = "/sys/kernel/debug/kvm";

#[derive(Serialize)]
struct Stats {
    /// `all`, or the process and file descriptor of one VM.
    vm: String,
    pid: Option<u32>,
    stats: BTreeMap<String, i64>,
}

/// Prints the counters of every VM, or of those that one process has; in the first case with the sum before.
pub(crate) fn show(pid: Option<&str>) -> Result<()> {
    if pid.is_none() {
        print(&Stats { vm: "all".into(), pid: None, stats: counters(Path::new(FOLDER))? })?;
    }
    for entry in fs::read_dir(FOLDER).with_context(|| format!("cannot list {FOLDER}"))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let vm = entry.file_name().to_string_lossy().into_owned();
        let owner = vm.split('-').next().unwrap_or_default();
        if pid.is_none_or(|pid| pid == owner) {
            let owner = owner.parse().ok();
            print(&Stats { vm, pid: owner, stats: counters(&entry.path())? })?;
        }
    }
    Ok(())
}

/// Every file that holds one number.
fn counters(folder: &Path) -> Result<BTreeMap<String, i64>> {
    let mut counters = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let number = fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse().ok());
        if let Some(number) = number {
            counters.insert(entry.file_name().to_string_lossy().into_owned(), number);
        }
    }
    Ok(counters)
}
