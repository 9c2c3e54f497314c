//! What an emulated device does.

use super::mapper::MappedPart;
use crate::pci::MsiRegisters;
use std::io;

/// The device behind an emulated function. vCPUs call it at the same time: it brings its own locks.
///
/// It does not see the MSI-X structures, which the library serves from the device's
/// [`SharedTable`](crate::emulation::SharedTable) or from the service.
pub trait FunctionModel: Send + Sync {
    /// Serves a read of a BAR that exited, of any width. The MSI-X table's BAR does not come here.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        let _ = (bar, offset);
        data.fill(0xff);
    }

    /// Serves a write to a BAR that exited, of any width. The MSI-X table's BAR does not come here.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        let _ = (bar, offset, data);
    }

    /// The guest has switched bus mastering on or off: while it is off, the device neither sends messages nor reaches
    /// memory. It is off at the start. The function's lock is held: the device must not call the function.
    fn set_bus_master(&self, on: bool) {
        let _ = on;
    }

    /// The guest may have written the MSI capability. Messages that are pending and unmasked now are to be sent. The
    /// function's lock is held: the device must not call the function.
    fn set_msi(&self, registers: MsiRegisters) {
        let _ = registers;
    }

    /// The pending bits of the MSI capability.
    fn msi_pending(&self) -> u32 {
        0
    }

    /// A function level reset, by the guest or by the VMM: the device's registers are what they were at the start, it raises
    /// nothing more by itself, and nothing is pending, in the table of
    /// [`SharedTable::reset`](crate::emulation::SharedTable::reset) neither. Its IRTEs stay. Bus mastering and the MSI
    /// capability were reset, and the device told so, before. No lock of the function is held.
    fn reset(&self) {}

    /// The device raises nothing by itself from the return of this call on, until [`resume`](Self::resume): the VM is about
    /// to be saved. What it would have raised meanwhile it raises afterwards. No lock of the function is held.
    fn pause(&self) {}

    /// The device goes on. No lock of the function is held.
    fn resume(&self) {}

    /// Everything that the device holds inside, for a snapshot: what is pending in its MSI-X table and in its MSI
    /// capability too, and what its [`SoftwareUnit`](crate::emulation::SoftwareUnit) [has
    /// given](crate::emulation::SoftwareUnit::save). Configuration space is the function's. The device is paused.
    ///
    /// # Errors
    /// `Unsupported`, unless the device can be saved: then the VM cannot.
    fn save(&self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a new device what [`save`](Self::save) has answered. Bus mastering and the MSI capability were restored, and
    /// the device told so, before. It stays paused until [`resume`](Self::resume).
    ///
    /// # Errors
    /// `InvalidData` if this device cannot have held that; then nothing has changed. `Unsupported` where `save` says so.
    fn restore(&self, inside: &[u8]) -> io::Result<()> {
        let _ = inside;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The parts of a BAR that are always mapped. The MSI-X table's BAR does not come here.
    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let _ = bar;
        Vec::new()
    }
}
