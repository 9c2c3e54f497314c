//! The lines of one emulated entry, and what the functions that change them need.

use crate::device::Device;
use crate::line::{LineError, LineTable};
use crate::log_limit::LogLimit;
use pvir_abi::DeviceId;

/// The device of an emulated store, and what its lines are made with.
pub(super) struct LineContext<'a> {
    pub(super) id: DeviceId,
    pub(super) device: &'a mut dyn Device,
    pub(super) lines: &'a mut LineTable,
    pub(super) log: &'a LogLimit,
}

impl LineContext<'_> {
    /// Logs a failure under the bound: a guest's access to its registers has no status.
    pub(super) fn failed(&self, what: &str, message: u32, error: &dyn std::fmt::Display) {
        let Self { id, device, log, .. } = self;
        log.warn(|| {
            format!("{what} of trapped message {message} of {id} ({}) failed: {error}", device.name())
        });
    }

    /// Logs what failed on the way down.
    pub(super) fn all_failed(&self, errors: &[LineError]) {
        for LineError { origin, step, source, .. } in errors {
            self.failed(step.name(), origin.index, source);
        }
    }
}
