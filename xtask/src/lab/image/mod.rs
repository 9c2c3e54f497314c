//! Makes what L1 boots: the uncompressed kernel, and an initramfs in two parts (the same for all runs, and this run's).

pub(crate) mod base;
mod cpio;
pub(crate) mod guest;
pub(crate) mod modules;
pub(crate) mod run;
pub(crate) mod vmlinux;

/// Raised when the same input makes another image.
pub(crate) const RECIPE: u32 = 2;
