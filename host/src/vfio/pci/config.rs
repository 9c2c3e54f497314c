//! Access to a device's configuration space.

use super::VfioPci;
use crate::pci::{HiddenPart, hidden_parts};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// COMMAND register, and its bits for memory decode and bus mastering.
const COMMAND: u64 = 0x04;
const MEMORY_DECODE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

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
    /// # Errors
    /// The errno of reading or writing the COMMAND register.
    pub fn set_bus_master(&self, on: bool) -> io::Result<()> {
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | MEMORY_DECODE;
        let command = if on { command | BUS_MASTER } else { command & !BUS_MASTER };
        self.config_write(COMMAND, &command.to_le_bytes())
    }

    /// Whether Bus Master Enable is set.
    pub(crate) fn is_bus_master(&self) -> io::Result<bool> {
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        Ok(u16::from_le_bytes(command) & BUS_MASTER != 0)
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
