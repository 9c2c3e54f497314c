//! The device's registers: BAR 0, trapped, 32-bit accesses.
//!
//! | offset | name | access | meaning |
//! |---|---|---|---|
//! | 0x00 | [`IDENTITY`] | read | `"PVED"` |
//! | 0x04 | [`VECTORS`] | read | number of MSI-X entries |
//! | 0x08 | [`TIMES`] | read, write | how often a write to RAISE raises; 1 at start |
//! | 0x0c | [`RAISE`] | write | raises the vector of this number |
//! | 0x10 | [`SELECT`] | read, write | the vector whose counts the next registers show |
//! | 0x14 | [`SENT`] | read | messages that the remapping unit let through, low 32 bits |
//! | 0x18 | [`BLOCKED`] | read | messages that it blocked, low 32 bits |
//! | 0x1c | [`HELD`] | read | interrupts that were held because the entry was masked, low 32 bits |
//!
//! Other offsets read as 0 and ignore writes.

use super::core::Core;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// See the module's table.
pub const IDENTITY: u64 = 0x00;
/// See the module's table.
pub const VECTORS: u64 = 0x04;
/// See the module's table.
pub const TIMES: u64 = 0x08;
/// See the module's table.
pub const RAISE: u64 = 0x0c;
/// See the module's table.
pub const SELECT: u64 = 0x10;
/// See the module's table.
pub const SENT: u64 = 0x14;
/// See the module's table.
pub const BLOCKED: u64 = 0x18;
/// See the module's table.
pub const HELD: u64 = 0x1c;

/// Value of [`IDENTITY`].
pub const IDENTITY_VALUE: u32 = u32::from_le_bytes(*b"PVED");
/// Most interrupts of one write to [`RAISE`]: a bound on the time that a guest can keep the device busy.
pub const MAX_TIMES: u32 = 1 << 16;

/// The register file.
#[derive(Debug)]
pub struct Registers {
    core: Arc<Core>,
    times: AtomicU32,
    select: AtomicU32,
}

impl Registers {
    /// Of the device `core`.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, times: AtomicU32::new(1), select: AtomicU32::new(0) }
    }

    /// A guest's read of 32 bits.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        let counts = || self.core.counts(self.select.load(Relaxed));
        let low = |count: u64| (count & 0xffff_ffff) as u32;
        match offset {
            IDENTITY => IDENTITY_VALUE,
            VECTORS => self.core.table().vectors(),
            TIMES => self.times.load(Relaxed),
            SELECT => self.select.load(Relaxed),
            SENT => low(counts().sent),
            BLOCKED => low(counts().blocked),
            HELD => low(counts().held),
            _ => 0,
        }
    }

    /// A guest's write of 32 bits.
    pub fn write(&self, offset: u64, value: u32) {
        match offset {
            TIMES => self.times.store(value.min(MAX_TIMES), Relaxed),
            SELECT => self.select.store(value, Relaxed),
            RAISE => (0..self.times.load(Relaxed)).for_each(|_| self.core.raise(value)),
            _ => {}
        }
    }
}
