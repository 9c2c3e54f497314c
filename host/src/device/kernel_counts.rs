//! The interrupt counts of the host's kernel, read when they are first needed.

use std::cell::OnceCell;

/// The text of `/proc/interrupts` at one moment, read at most once for all devices.
#[derive(Debug, Default)]
pub struct KernelCounts(OnceCell<String>);

impl KernelCounts {
    /// The text; empty if the file cannot be read.
    #[must_use]
    pub fn interrupts(&self) -> &str {
        self.0.get_or_init(|| std::fs::read_to_string("/proc/interrupts").unwrap_or_default())
    }
}
