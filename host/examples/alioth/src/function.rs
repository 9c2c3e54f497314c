//! A PCI function of pvir's library on alioth's PCI bus, and alioth's memory slots as the library maps them.

use std::fmt;
use std::io;
use std::sync::Arc;

use alioth::device::Pause;
use alioth::hv::{MemMapOption, VmMemory};
use alioth::mem::emulated::{Action, Mmio};
use alioth::pci::config::{ConfigHeader, DeviceHeader, EmulatedHeader, PciConfig};
use alioth::pci::{Bdf, Pci, PciBar};
use pvir_abi::DeviceId;
use pvir_host::function::{BarMapper, GuestAccess, MappedPart, PciFunction};

use crate::hypervisor::Slots;

/// Maps parts of BARs as memory slots of alioth's VM.
impl BarMapper for Slots {
    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let write = part.access() == GuestAccess::ReadWrite;
        let option = MemMapOption { write, ..MemMapOption::default() };
        let host = usize::try_from(part.host_address()).map_err(io::Error::other)?;
        self.mem_map(address, part.size(), host, option).map_err(io::Error::other)
    }

    fn unmap(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        VmMemory::unmap(self, address, part.size()).map_err(io::Error::other)
    }
}

/// A function as alioth's bus has it: the library serves configuration space and BARs.
pub struct BusFunction {
    function: Arc<PciFunction>,
    /// What alioth's board looks at for BARs to place: it has none.
    header: EmulatedHeader,
}

impl BusFunction {
    pub fn new(function: Arc<PciFunction>) -> Self {
        let header = ConfigHeader::Device(DeviceHeader::default());
        Self { function, header: EmulatedHeader::new(header, [const { PciBar::Empty }; 6]) }
    }
}

impl Mmio for BusFunction {
    fn size(&self) -> u64 {
        4096
    }

    fn read(&self, offset: u64, size: u8) -> alioth::mem::Result<u64> {
        let mut data = [0; 8];
        self.function.config_read(offset as u16, &mut data[..size.into()]);
        Ok(u64::from_le_bytes(data))
    }

    fn write(&self, offset: u64, size: u8, value: u64) -> alioth::mem::Result<Action> {
        self.function.config_write(offset as u16, &value.to_le_bytes()[..size.into()]);
        Ok(Action::None)
    }
}

impl PciConfig for BusFunction {
    fn get_header(&self) -> &EmulatedHeader {
        &self.header
    }

    fn reset(&self) -> alioth::pci::Result<()> {
        Ok(())
    }
}

impl Pci for BusFunction {
    fn name(&self) -> &str {
        "pvir"
    }

    fn config(&self) -> &dyn PciConfig {
        self
    }

    fn reset(&self) -> alioth::pci::Result<()> {
        Ok(())
    }
}

impl Pause for BusFunction {}

impl fmt::Debug for BusFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function.name())
    }
}

/// The name of a function for guest and service, by its place on alioth's bus.
pub fn device_id(place: Bdf) -> DeviceId {
    DeviceId::new(0, pvir_abi::Bdf(place.0))
}
