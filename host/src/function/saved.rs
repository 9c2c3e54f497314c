//! A function in a snapshot of its VM.

use super::PciFunction;
use super::error::FunctionError;
use super::registers::Registers;
use super::stores::TrappedStores;
use crate::pci::{BUS_MASTER, BarKind};
use crate::vfio::GoesOn;
use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// What of a function is saved: the registers that its guest has written, and what its device holds inside. The MSI-X
/// table and the capabilities for messages are the [service](crate::service::SavedState)'s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedFunction {
    identity: SavedIdentity,
    config: Vec<u8>,
    bars: [u32; 6],
    /// Nothing for a device that is found reset.
    inside: Option<Vec<u8>>,
}

/// What a function is to its guest, so that a difference can be named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct SavedIdentity {
    vendor: u16,
    device: u16,
    revision: u8,
    /// Base class, subclass, programming interface.
    class: [u8; 3],
    subsystem: [u16; 2],
    /// Number, kind and size of each BAR.
    bars: Vec<(u8, SavedBarKind, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum SavedBarKind {
    Io,
    Memory32,
    Memory64,
}

impl From<BarKind> for SavedBarKind {
    fn from(kind: BarKind) -> Self {
        match kind {
            BarKind::Io => Self::Io,
            BarKind::Memory32 => Self::Memory32,
            BarKind::Memory64 => Self::Memory64,
        }
    }
}

impl SavedIdentity {
    fn of(registers: &Registers) -> Self {
        let values = registers.config.values();
        let word = |at: usize| u16::from_le_bytes([values[at], values[at + 1]]);
        Self {
            vendor: word(0),
            device: word(2),
            revision: values[8],
            class: [values[11], values[10], values[9]],
            subsystem: [word(0x2c), word(0x2e)],
            bars: registers.bars.iter().map(|(bar, spec)| (bar, spec.kind().into(), spec.size())).collect(),
        }
    }
}

impl fmt::Display for SavedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, device, revision, class: [base, sub, interface], subsystem, bars } = self;
        write!(f, "{vendor:04x}:{device:04x} revision {revision} class {base:02x}{sub:02x}{interface:02x}")?;
        write!(f, " subsystem {:04x}:{:04x}", subsystem[0], subsystem[1])?;
        bars.iter().try_for_each(|(bar, kind, size)| write!(f, ", BAR{bar} {kind:?} {size:#x}"))
    }
}

impl SavedFunction {
    /// Whether what the device held inside is not in it: the guest finds the device reset.
    #[must_use]
    pub fn is_found_reset(&self) -> bool {
        self.inside.is_none()
    }
}

impl PciFunction {
    /// Has the device raise nothing more by itself, for a VM that is about to be saved. When this returns, it is so.
    pub fn pause(&self) {
        self.placement.backend().pause();
    }

    /// Lets the device go on, after a save that the VM goes on from, or after a restore as its last step. A host device that
    /// has failed at it is reset, and its guest told.
    pub fn resume(&self) {
        if self.placement.backend().resume() == GoesOn::Reset {
            self.stores.iter().for_each(TrappedStores::was_reset);
        }
    }

    /// Whether the function can be saved, as far as that is known before: a VMM asks before it stops anything.
    ///
    /// # Errors
    /// [`FunctionError::State`] with `Unsupported`: what a host device holds inside cannot be saved, and it cannot be
    /// reset either.
    pub fn check_save(&self) -> Result<(), FunctionError> {
        self.placement.backend().check_save().map_err(|source| self.state_error("it cannot be saved", source))
    }

    /// Saves the function, which is [paused](Self::pause). No vCPU runs.
    ///
    /// What a host device holds inside is saved where the kernel has a driver for it with VFIO's migration protocol (version
    /// 2, 128 MiB at most). Otherwise the device is found reset by whoever goes on ([`SavedFunction::is_found_reset`]).
    ///
    /// # Errors
    /// [`FunctionError::State`] with `Unsupported`: a host device that cannot be reset, or a model that cannot be saved.
    pub fn save(&self) -> Result<SavedFunction, FunctionError> {
        let inside = self.placement.backend().save();
        let inside = inside.map_err(|source| self.state_error("it cannot be saved", source))?;
        let registers = self.placement.registers();
        let identity = SavedIdentity::of(&registers);
        let (config, bars) = registers.save();
        Ok(SavedFunction { identity, config, bars, inside })
    }

    /// Restores a new function to what [`save`](Self::save) has saved of one of the same kind, and places its BARs. A host
    /// device may be another one than that which was saved, with the same ids, BARs and capabilities; it is reset. Its
    /// device is [paused](Self::pause) before, and stays so. The service is restored afterwards
    /// ([`Service::restore`](crate::service::Service::restore)).
    ///
    /// # Errors
    /// [`FunctionError::State`] if the function is another one than that which was saved; otherwise
    /// [`FunctionError::Mapper`] if the VMM has not placed a BAR. The function is of no use then.
    pub fn restore(&self, saved: &SavedFunction) -> Result<(), FunctionError> {
        let backend = self.placement.backend();
        let bus_master = {
            let mut registers = self.placement.registers();
            let here = SavedIdentity::of(&registers);
            let other = |what: String| {
                self.state_error("it is not the saved one", io::Error::new(io::ErrorKind::InvalidData, what))
            };
            if here != saved.identity {
                return Err(other(format!("saved was {}; here is {here}", saved.identity)));
            }
            let command = registers.config.command();
            registers.restore(&saved.config, &saved.bars).map_err(other)?;
            backend.config_written(&registers.config, command);
            registers.config.command() & BUS_MASTER != 0
        };
        let inside = backend.restore(saved.inside.as_deref(), bus_master);
        inside.map_err(|source| self.state_error("what the saved one held is not taken", source))?;
        self.placement.update()
    }

    fn state_error(&self, operation: &str, source: io::Error) -> FunctionError {
        let (function, name) = (self.id(), self.placement.backend().name());
        FunctionError::State { function, name, operation: operation.to_owned(), source }
    }
}
