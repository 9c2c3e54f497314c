//! A function in a snapshot of its VM.

use super::PciFunction;
use super::error::FunctionError;
use serde::{Deserialize, Serialize};
use std::io;

/// What of a function is saved: the registers that its guest has written, and what its device holds inside. The MSI-X
/// table and the capabilities for messages are the [service](crate::service::SavedState)'s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedFunction {
    config: Vec<u8>,
    bars: [u32; 6],
    inside: Vec<u8>,
}

impl PciFunction {
    /// Has the device raise nothing more by itself, for a VM that is about to be saved. When this returns, it is so.
    pub fn pause(&self) {
        self.placement.backend().set_paused(true);
    }

    /// Lets the device go on, after a save that the VM goes on from, or after a restore as its last step.
    pub fn resume(&self) {
        self.placement.backend().set_paused(false);
    }

    /// Saves the function, which is [paused](Self::pause). No vCPU runs.
    ///
    /// # Errors
    /// [`FunctionError::State`] with `Unsupported`: a host device, or a model that cannot be saved.
    pub fn save(&self) -> Result<SavedFunction, FunctionError> {
        let inside = self.placement.backend().save();
        let inside = inside.map_err(|source| self.state_error("it cannot be saved", source))?;
        let (config, bars) = self.placement.registers().save();
        Ok(SavedFunction { config, bars, inside })
    }

    /// Restores a new function to what [`save`](Self::save) has saved of one of the same kind, and places its BARs. Its
    /// device is [paused](Self::pause) before, and stays so. The service is restored afterwards
    /// ([`Service::restore`](crate::service::Service::restore)).
    ///
    /// # Errors
    /// [`FunctionError::State`] if the function is another one than that which was saved; otherwise
    /// [`FunctionError::Mapper`] if the VMM has not placed a BAR. The function is of no use then.
    pub fn restore(&self, saved: &SavedFunction) -> Result<(), FunctionError> {
        let backend = self.placement.backend();
        {
            let mut registers = self.placement.registers();
            let command = registers.config.command();
            let restored = registers.restore(&saved.config, &saved.bars);
            restored.map_err(|what| {
                self.state_error("it is not the saved one", io::Error::new(io::ErrorKind::InvalidData, what))
            })?;
            backend.config_written(&registers.config, command);
        }
        let inside = backend.restore(&saved.inside);
        inside.map_err(|source| self.state_error("what the saved one held is not taken", source))?;
        self.placement.update()
    }

    fn state_error(&self, operation: &str, source: io::Error) -> FunctionError {
        let (function, name) = (self.id(), self.placement.backend().name());
        FunctionError::State { function, name, operation: operation.to_owned(), source }
    }
}
