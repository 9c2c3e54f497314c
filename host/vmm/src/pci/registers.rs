//! What of a function's registers exits, as the guest reaches it.

use pvir_host::function::PciFunction;

/// The registers of a PCI function that are served by exits: configuration space, and what of its BARs is not mapped into
/// the guest. Offsets are in bytes, and the slice's length is the width of the access.
pub trait FunctionRegisters: Send + Sync {
    /// Reads configuration space.
    fn config_read(&self, offset: u16, data: &mut [u8]);

    /// Writes configuration space.
    fn config_write(&self, offset: u16, data: &[u8]);

    /// Reads at `offset` of a BAR.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes at `offset` of a BAR.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);
}

impl FunctionRegisters for PciFunction {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.config_read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.config_write(offset, data);
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.bar_read(bar, offset, data);
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        self.bar_write(bar, offset, data);
    }
}
