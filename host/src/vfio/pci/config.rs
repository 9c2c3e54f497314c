//! Access to a device's configuration space.

use super::VfioPci;
use crate::pci::{HiddenPart, hidden_parts};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::PoisonError;

/// COMMAND register, and its bits for memory decode and bus mastering.
const COMMAND: u64 = 0x04;
const MEMORY_DECODE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

/// What is to become of Bus Master Enable.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct BusMaster {
    /// What the device's user has it be.
    wanted: bool,
    /// Whether it is clear all the same.
    held_off: bool,
}

impl BusMaster {
    const fn is_on(self) -> bool {
        self.wanted && !self.held_off
    }
}

impl VfioPci {
    /// Reads configuration space from byte `offset` on, as VFIO virtualizes it.
    ///
    /// # Errors
    /// The errno of reading the device's descriptor.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.device.read(data, self.config.offset + offset)
    }

    /// Writes configuration space from byte `offset` on. VFIO decides which bits reach the device.
    ///
    /// # Errors
    /// The errno of writing the device's descriptor.
    pub fn config_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.device.write(data, self.config.offset + offset)
    }

    /// Sets or clears Bus Master Enable, which lets the device do DMA and send messages. Memory decode stays on,
    /// because an access to a mapped BAR without it ends in SIGBUS, in this process as in the guest.
    ///
    /// While the device is [held off](crate::device::Device::hold_off) it stays clear, and is set afterwards.
    ///
    /// # Errors
    /// The errno of reading or writing the COMMAND register.
    pub fn set_bus_master(&self, on: bool) -> io::Result<()> {
        self.change_bus_master(|state| state.wanted = on)
    }

    /// Keeps Bus Master Enable clear, whatever [`set_bus_master`](Self::set_bus_master) says, or no longer does.
    ///
    /// # Errors
    /// As for [`set_bus_master`](Self::set_bus_master).
    pub(crate) fn hold_bus_master(&self, held: bool) -> io::Result<()> {
        self.change_bus_master(|state| state.held_off = held)
    }

    /// Whether Bus Master Enable is set, or is to be when the device is no longer held off.
    pub(crate) fn is_bus_master(&self) -> bool {
        self.bus_master.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    /// The change is made, whether or not the device could be told.
    fn change_bus_master(&self, change: impl FnOnce(&mut BusMaster)) -> io::Result<()> {
        let mut state = self.bus_master.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let on = state.is_on();
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | MEMORY_DECODE;
        let command = if on { command | BUS_MASTER } else { command & !BUS_MASTER };
        self.config_write(COMMAND, &command.to_le_bytes())
    }

    /// What the device has and a guest is not shown ([`PciFunction::vfio`](crate::function::PciFunction::vfio)).
    ///
    /// # Errors
    /// The errno of reading the device's descriptor.
    pub fn hidden_parts(&self) -> io::Result<Vec<HiddenPart>> {
        let size = usize::try_from(self.config.size).unwrap_or(usize::MAX).min(4096);
        let mut config = vec![0; size];
        self.config_read(0, &mut config)?;
        Ok(hidden_parts(&config, self.can_reset()))
    }

    /// The physical config space, which VFIO does not show: for the pair of a plain MSI.
    pub(crate) fn physical_config(&self) -> io::Result<[u8; 256]> {
        let mut config = [0; 256];
        File::open(self.host.device_path(self.address).join("config"))?.read_exact_at(&mut config, 0)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_held_off_masters_the_bus_afterwards_if_it_is_to() {
        let mut state = BusMaster::default();
        assert!(!state.is_on());
        state.wanted = true;
        assert!(state.is_on());
        state.held_off = true;
        assert!(!state.is_on());
        state.held_off = false;
        assert!(state.is_on());
        // Its guest has reset it meanwhile.
        (state.held_off, state.wanted) = (true, false);
        state.held_off = false;
        assert!(!state.is_on());
    }
}
