//! What an emulated device does.

use super::mapper::MappedPart;
use crate::pci::MsiRegisters;

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

    /// The parts of a BAR that are always mapped. The MSI-X table's BAR does not come here.
    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let _ = bar;
        Vec::new()
    }
}
