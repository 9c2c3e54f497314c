//! What of the file system a thread can reach by name: Landlock, where the kernel has it.
//!
//! Files that are open stay so. Unlike a filter it is no condition of a run, since half of the kernels in use lack it; the
//! filters alone let nothing be opened but for reading.

use std::path::{Path, PathBuf};

use anyhow::Result;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};

use super::kinds::Files;

/// Of Linux 6.12: what later ones can refuse, this list does not know. An older kernel refuses what it can.
const KNOWN: ABI = ABI::V6;
/// What the isolation of devices, interrupt counts and IRTEs are read from.
const SYSTEM: [&str; 2] = ["/proc", "/sys"];

/// What the kernel has of Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landlock {
    /// The version of its interface.
    Version(i32),
    /// Built in, and not among the security modules that were started.
    NotStarted,
    Missing,
}

/// Restricts the calling thread, and those that it starts. No file can be opened to be written or executed, no TCP port
/// be used, and no abstract socket be connected to. `socket_folders` have the files of sockets.
///
/// # Errors
/// If Landlock is there and does not work.
pub(super) fn restrict(files: Files, socket_folders: &[PathBuf]) -> Result<Landlock> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::AbstractUnixSocket)?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let system = if files == Files::Nothing { &[][..] } else { &SYSTEM };
    let removable = if files == Files::ReadSystemRemoveSocket { socket_folders } else { &[] };
    // A folder that is not there is none that is read.
    for folder in system.iter().filter(|folder| Path::new(folder).exists()) {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, read))?;
    }
    for folder in removable.iter().filter(|folder| folder.exists()) {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::RemoveFile))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Landlock::Version(kernel_abi.unwrap_or(effective_abi as i32))
        }
        LandlockStatus::NotEnabled => Landlock::NotStarted,
        LandlockStatus::NotImplemented => Landlock::Missing,
    })
}
