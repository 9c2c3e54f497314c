//! The reset of a function.

use super::PciFunction;
use super::error::FunctionError;

impl PciFunction {
    /// Whether the device can be reset: the kernel cannot do it with each of the host's devices. A VMM that resets its VM
    /// without a new one should know it before.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        self.placement.backend().can_reset()
    }

    /// Resets the function, as its guest does by Initiate Function Level Reset (PCI Express Base Specification 6.0, section
    /// 6.6.2 "Function Level Reset"), or as a VMM has to when it resets the VM.
    ///
    /// When it returns, COMMAND and the BARs' addresses are zero (what [`place_bar`](Self::place_bar) has placed stays),
    /// MSI and MSI-X are disabled, every entry of the table is masked, and nothing is pending. What the guest has mapped
    /// by the service stays mapped (`docs/abi.md`, section 8, "Resets").
    ///
    /// The device is reset without the service's lock, so that only the caller waits for it.
    ///
    /// # Errors
    /// [`FunctionError::Device`] if the device cannot be reset, or has failed at it. Configuration space then reads as
    /// ones, as that of a device that is not there, until a reset succeeds.
    pub fn reset(&self) -> Result<(), FunctionError> {
        self.reset_and_count().1
    }

    /// Answers also how many memory slots were moved.
    fn reset_and_count(&self) -> (usize, Result<(), FunctionError>) {
        let backend = self.placement.backend();
        {
            let mut registers = self.placement.registers();
            let command = registers.config.command();
            registers.reset();
            backend.config_written(&registers.config, command);
        }
        // The guest has no mapping of the device while it is reset.
        let slots = self.placement.update_for_guest();
        let done = match &self.stores {
            Some(stores) => stores.reset(|| backend.reset()),
            None => backend.reset(),
        };
        self.placement.set_silent(done.is_err());
        let failed = |source| FunctionError::Device {
            device: self.host_address().unwrap_or_else(|| self.id()),
            operation: "the reset has failed".to_owned(),
            source,
        };
        (slots, done.map_err(failed))
    }

    /// The guest is told of a failure by a device that does not answer.
    pub(super) fn reset_for_guest(&self) {
        let (slots, done) = self.reset_and_count();
        match done {
            Ok(()) => tracing::debug!(function = %self.id(), "reset by the guest"),
            Err(error) => self.placement.log_reset(&error),
        }
        // What has no interrupts has no service to be charged by.
        self.stores.iter().for_each(|stores| stores.charge_reset(slots));
    }
}
