//! The function of a host device.

use super::NewFunction;
use super::PciFunction;
use super::backend::Backend;
use super::error::FunctionError;
use super::mapper::{BarMapper, MappedPart};
use super::physical_bar::Bar;
use super::stores::TrappedStores;
use crate::mapping::RegionMap;
use crate::pci::{BUS_MASTER, BarSpec, ConfigSpace, MsiCapability, MsixCapability, SIZE, filter};
use crate::vfio::{DeviceState, GoesOn, VfioDevice, VfioPci};
use pvir_abi::DeviceId;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a function needs of the host device behind it. The operations are those of [`VfioPci`].
pub(super) trait PhysicalFunction: Send + Sync {
    fn address(&self) -> DeviceId;
    fn msix(&self) -> Option<&MsixCapability>;
    fn msi(&self) -> Option<&MsiCapability>;
    fn config_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    fn config_write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    fn set_bus_master(&self, on: bool) -> io::Result<()>;
    fn can_reset(&self) -> bool;
    fn reset(&self) -> io::Result<()>;
    /// What the device holds inside, where the kernel's driver knows it.
    fn state(&self) -> Option<&dyn DeviceState>;
    fn bar_size(&self, bar: u8) -> u64;
    /// The whole BAR; `None` if it cannot be mapped.
    fn map_bar(&self, bar: u8) -> io::Result<Option<RegionMap>>;
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> io::Result<()>;
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> io::Result<()>;
}

impl PhysicalFunction for VfioPci {
    fn address(&self) -> DeviceId {
        self.address()
    }

    fn msix(&self) -> Option<&MsixCapability> {
        self.msix()
    }

    fn msi(&self) -> Option<&MsiCapability> {
        self.msi()
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.config_read(offset, data)
    }

    fn config_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.config_write(offset, data)
    }

    fn set_bus_master(&self, on: bool) -> io::Result<()> {
        self.set_bus_master(on)
    }

    fn can_reset(&self) -> bool {
        self.can_reset()
    }

    fn reset(&self) -> io::Result<()> {
        self.reset()
    }

    fn state(&self) -> Option<&dyn DeviceState> {
        self.state()
    }

    fn bar_size(&self, bar: u8) -> u64 {
        self.bar_size(bar)
    }

    fn map_bar(&self, bar: u8) -> io::Result<Option<RegionMap>> {
        if self.is_mappable(bar) { self.map_bar(bar).map(Some) } else { Ok(None) }
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.bar_read(bar, offset, data)
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bar_write(bar, offset, data)
    }
}

impl PciFunction {
    /// The function of a host device, which the guest finds at `id`.
    ///
    /// The guest sees the device's ids and class, its memory BARs, and of its capabilities MSI-X (or MSI, where there is
    /// no MSI-X), PCI Express with a function level reset if VFIO can reset the device, power management (the device
    /// itself stays on), and vendor-specific ones, which it reads and writes as VFIO lets it. Everything else reads as zero and is not written:
    /// an allow-list. [`VfioPci::hidden_parts`] says what that is of a device. Memory decode of the device itself stays
    /// on, whatever the guest writes ([`VfioPci::set_bus_master`]).
    ///
    /// # Errors
    /// [`FunctionError::Device`] if the device's configuration space or BARs cannot be accessed or mapped, and
    /// [`FunctionError::Bars`] if its BARs are malformed.
    pub fn vfio(
        pci: Arc<VfioPci>,
        id: DeviceId,
        mapper: Arc<dyn BarMapper>,
    ) -> Result<NewFunction, FunctionError> {
        let address = pci.address();
        let physical = Physical::new(Arc::clone(&pci) as Arc<dyn PhysicalFunction>)?;
        NewFunction::of_physical(physical, id, mapper, |window| {
            let device = VfioDevice::new(pci, window).map_err(|source| FunctionError::Device {
                device: address,
                operation: "cannot map the BAR of the MSI-X table".to_owned(),
                source,
            })?;
            Ok(Box::new(device))
        })
    }
}

/// A host device, as a function has it.
pub(super) struct Physical {
    /// Dropped before `pci`: a mapping keeps the device open.
    bars: Vec<Bar>,
    pci: Arc<dyn PhysicalFunction>,
    config: [u8; SIZE],
    /// Whether a failure of a write to COMMAND was logged: a guest can repeat it without end.
    logged: AtomicBool,
}

impl Physical {
    pub(super) fn new(pci: Arc<dyn PhysicalFunction>) -> Result<Self, FunctionError> {
        let mut config = [0; SIZE];
        pci.config_read(0, &mut config).map_err(|source| FunctionError::Device {
            device: pci.address(),
            operation: "cannot read configuration space by VFIO".to_owned(),
            source,
        })?;
        Ok(Self { bars: Bar::all(&*pci)?, pci, config, logged: AtomicBool::new(false) })
    }

    /// What a guest sees of the configuration space.
    pub(super) fn config(&self) -> ConfigSpace {
        filter(&self.config, self.pci.can_reset())
    }

    pub(super) fn bars(&self) -> Vec<(u8, BarSpec)> {
        self.bars.iter().map(|bar| (bar.index(), bar.spec())).collect()
    }

    /// Where the capability stands whose registers the service emulates.
    pub(super) fn capability(&self) -> Range<u16> {
        match (self.pci.msix(), self.pci.msi()) {
            (Some(msix), _) => msix.offset..msix.offset + MsixCapability::LEN,
            (None, Some(msi)) => msi.offset..msi.offset + msi.size(),
            (None, None) => 0..0,
        }
    }

    fn bar(&self, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.index() == index)
    }

    fn config_byte(&self, offset: u16) -> u8 {
        let mut byte = [0xff];
        if let Err(error) = self.pci.config_read(offset.into(), &mut byte) {
            tracing::debug!(device = %self.pci.address(), offset, "config read: {error}");
        }
        byte[0]
    }
}

impl Backend for Physical {
    fn config_reader(&self) -> Box<dyn Fn(u16) -> u8 + '_> {
        Box::new(|offset| self.config_byte(offset))
    }

    fn config_written(&self, config: &ConfigSpace, command: u16) {
        let after = config.command();
        if (command ^ after) & BUS_MASTER == 0 {
            return;
        }
        if let Err(error) = self.pci.set_bus_master(after & BUS_MASTER != 0) {
            if self.logged.swap(true, Relaxed) {
                return;
            }
            tracing::error!(device = %self.pci.address(), "cannot write COMMAND: {error}");
        }
    }

    fn device_read(&self, offset: u16, data: &mut [u8]) {
        if let Err(error) = self.pci.config_read(offset.into(), data) {
            tracing::debug!(device = %self.pci.address(), offset, "config read: {error}");
        }
    }

    fn device_write(&self, offset: u16, data: &[u8]) {
        if let Err(error) = self.pci.config_write(offset.into(), data) {
            tracing::debug!(device = %self.pci.address(), offset, "config write: {error}");
        }
    }

    fn can_reset(&self) -> bool {
        self.pci.can_reset()
    }

    fn reset(&self) -> io::Result<()> {
        self.pci.reset()
    }

    /// A device whose inside nobody else knows is stopped by the service.
    fn pause(&self) {
        if let Some(Err(error)) = self.pci.state().map(DeviceState::stop) {
            tracing::warn!(device = %self.pci.address(), "it does not stop: {error}");
        }
    }

    fn resume(&self) -> GoesOn {
        match self.pci.state().map(DeviceState::go_on) {
            Some(Ok(goes_on)) => goes_on,
            None => GoesOn::AsItWas,
            Some(Err(error)) => {
                tracing::error!(device = %self.pci.address(), "it does not go on: {error}");
                GoesOn::Reset
            }
        }
    }

    fn check_save(&self) -> io::Result<()> {
        if self.pci.state().is_some() || self.pci.can_reset() {
            return Ok(());
        }
        let what = "what it holds inside cannot be saved, and the host's kernel cannot reset it";
        Err(io::Error::new(io::ErrorKind::Unsupported, what))
    }

    fn save(&self) -> io::Result<Option<Vec<u8>>> {
        self.check_save()?;
        self.pci.state().map(DeviceState::save).transpose()
    }

    /// A device whose inside was not saved is reset: whoever had it before may have left something in it.
    fn restore(&self, inside: Option<&[u8]>, bus_master: bool) -> io::Result<()> {
        match (inside, self.pci.state()) {
            (Some(inside), Some(state)) => state.load(inside),
            (Some(_), None) => {
                let what =
                    "it was saved by the kernel's driver of the device, and this driver cannot take it";
                Err(io::Error::new(io::ErrorKind::Unsupported, what))
            }
            (None, _) => {
                self.pci.reset()?;
                // The reset leaves Bus Master Enable off.
                if bus_master { self.pci.set_bus_master(true) } else { Ok(()) }
            }
        }
    }

    fn bar_read(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &mut [u8]) {
        match self.bar(bar) {
            Some(bar) => bar.read(&*self.pci, stores, offset, data),
            None => data.fill(0xff),
        }
    }

    fn bar_write(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &[u8]) {
        if let Some(bar) = self.bar(bar) {
            bar.write(&*self.pci, stores, offset, data);
        }
    }

    fn mapped_parts(&self, bar: u8, open: bool) -> Vec<MappedPart> {
        self.bar(bar).map_or_else(Vec::new, |bar| bar.mapped_parts(open))
    }

    fn name(&self) -> String {
        format!("vfio {}", self.pci.address())
    }

    /// By vendor and device id: where it is on the host is the host's.
    fn kind(&self) -> String {
        let id = |at: usize| u16::from_le_bytes([self.config[at], self.config[at + 1]]);
        format!("vfio {:04x}:{:04x}", id(0), id(2))
    }

    fn host_address(&self) -> Option<DeviceId> {
        Some(self.pci.address())
    }

    fn msix_table_bar(&self) -> Option<u8> {
        self.pci.msix().map(|msix| msix.table_bar)
    }
}
