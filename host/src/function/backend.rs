//! What is behind a function: a host device, or an emulated one.

use super::mapper::MappedPart;
use super::stores::TrappedStores;
use crate::pci::ConfigSpace;
use crate::vfio::GoesOn;
use pvir_abi::DeviceId;
use std::io;

/// The device behind a function. The lock of the function's registers is held around the calls of the first group.
pub(super) trait Backend: Send + Sync {
    /// Reads single bytes of the device's own configuration space, where the guest is shown these.
    fn config_reader(&self) -> Box<dyn Fn(u16) -> u8 + '_>;

    /// The guest has written COMMAND or what follows it; `command` is what COMMAND was before.
    fn config_written(&self, config: &ConfigSpace, command: u16);

    /// Reads registers that are the device's own: of the capability that the guest has for itself, and vendor-specific
    /// ones. None where these stand in the function's own configuration space.
    fn device_read(&self, _offset: u16, _data: &mut [u8]) {}

    /// Writes registers that are the device's own.
    fn device_write(&self, _offset: u16, _data: &[u8]) {}

    /// Whether the device can be reset.
    fn can_reset(&self) -> bool;

    /// Resets the device. No lock of the function is held.
    fn reset(&self) -> io::Result<()>;

    /// Has the device raise nothing more by itself. What fails is told by [`save`](Self::save). No lock of the function is
    /// held.
    fn pause(&self) {}

    /// Lets the device go on after [`pause`](Self::pause). No lock of the function is held.
    fn resume(&self) -> GoesOn {
        GoesOn::AsItWas
    }

    /// Whether [`save`](Self::save) has what it takes.
    fn check_save(&self) -> io::Result<()> {
        Ok(())
    }

    /// What the device holds inside, for a snapshot; `None` for a device that is found reset in place of it. No lock of
    /// the function is held.
    fn save(&self) -> io::Result<Option<Vec<u8>>>;

    /// Gives the device what [`save`](Self::save) has answered. `bus_master` is Bus Master Enable as the guest has it, which
    /// the device was told before. No lock of the function is held.
    fn restore(&self, inside: Option<&[u8]>, bus_master: bool) -> io::Result<()>;

    /// Serves a read of a BAR that exited.
    fn bar_read(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &mut [u8]);

    /// Serves a write of a BAR that exited.
    fn bar_write(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &[u8]);

    /// What of a BAR is mapped. `open` says whether the guest has the MSI-X table.
    fn mapped_parts(&self, bar: u8, open: bool) -> Vec<MappedPart>;

    /// For people and reports.
    fn name(&self) -> String;

    /// What kind of device it is: one of the same kind can be in its place when the VM is restored.
    fn kind(&self) -> String {
        self.name()
    }

    /// The address on the host, if it is a host device.
    fn host_address(&self) -> Option<DeviceId> {
        None
    }

    /// The BAR that holds the MSI-X table.
    fn msix_table_bar(&self) -> Option<u8>;
}
