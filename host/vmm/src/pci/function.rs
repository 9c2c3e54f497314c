//! What a device is to the bus.

use std::fmt;
use std::sync::Arc;

use pvir_abi::DeviceId;

use super::bars::BarSpec;
use crate::vm::slots::{HostMemory, SlotAccess};

/// Device and function number on bus 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DevFn(u8);

impl DevFn {
    /// Function 0 of the device with this number.
    pub(crate) fn device(number: u8) -> Self {
        Self((number & 31) << 3)
    }

    /// From the byte in a configuration address.
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The requester id on bus 0, with which MSI routes are tagged.
    pub(crate) fn requester_id(self) -> u16 {
        u16::from(self.0)
    }
}

impl fmt::Display for DevFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.0 >> 3, self.0 & 7)
    }
}

/// A part of a BAR that the guest reaches without exits.
#[derive(Debug, Clone)]
pub(crate) struct MappedPart {
    /// The offset in the BAR, and the size: whole pages.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) memory: Arc<dyn HostMemory>,
    /// The offset in `memory`.
    pub(crate) memory_offset: u64,
    pub(crate) access: SlotAccess,
}

impl PartialEq for MappedPart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            && (self.offset, self.size, self.memory_offset, self.access)
                == (other.offset, other.size, other.memory_offset, other.access)
    }
}

/// A PCI function. vCPUs call it at the same time: it brings its own locks, and holds none of them while it calls
/// [`super::bus::PciBus::refresh`].
pub(crate) trait PciFunction: Send + Sync {
    /// For people and reports, for example `vfio 0000:01:00.0`.
    fn name(&self) -> String;

    /// Where it is on the host, if it is a device of the host.
    fn host_address(&self) -> Option<DeviceId> {
        None
    }

    /// The BARs by their first register; constant.
    fn bars(&self) -> [Option<BarSpec>; 6];

    /// The BAR that holds the MSI-X table.
    fn msix_table_bar(&self) -> Option<u8> {
        None
    }

    /// Reads 1, 2 or 4 bytes of config space, never across a doubleword. Not called for BARs and the expansion ROM.
    fn config_read(&self, offset: u16, data: &mut [u8]);

    /// Writes 1, 2 or 4 bytes of config space, never across a doubleword. COMMAND comes here too, before the bus acts on
    /// its decode bits.
    fn config_write(&self, offset: u16, data: &[u8]);

    /// Reads 1 to 8 bytes of a BAR where nothing is mapped.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes 1 to 8 bytes of a BAR where nothing is mapped, or where a part is mapped read-only.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);

    /// What of a BAR is mapped now. Asked whenever the BAR moves, and by [`super::bus::PciBus::refresh`].
    fn mapped_parts(&self, _bar: u8) -> Vec<MappedPart> {
        Vec::new()
    }
}
