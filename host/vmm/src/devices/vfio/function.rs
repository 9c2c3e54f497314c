//! A host device as a PCI function of the guest.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::service::Service;
use pvir_host::vfio::VfioPci;

use super::bar::{Bar, TrappedAccess};
use crate::devices::config::filter::filter;
use crate::devices::config::space::{BUS_MASTER, ConfigSpace, MSIX_SIZE, SIZE};
use crate::devices::gate::Gate;
use crate::devices::trapped::TrappedStores;
use crate::pci::bars::BarSpec;
use crate::pci::function::{MappedPart, PciFunction};

/// A host device, as the guest's bus has it.
pub(crate) struct VfioFunction {
    /// Dropped before `pci`: a mapping keeps the device open.
    bars: [Option<Bar>; 6],
    pci: Arc<VfioPci>,
    config: Mutex<ConfigSpace>,
    stores: Arc<TrappedStores>,
    gate: Arc<Gate>,
    /// Whether a failure of a write to COMMAND was logged: a guest can repeat it without end.
    logged: AtomicBool,
}

impl VfioFunction {
    pub(crate) fn new(pci: Arc<VfioPci>, gate: Arc<Gate>, service: Arc<Service>) -> Result<Self> {
        let mut config = [0; SIZE];
        let failed = || format!("{}: cannot read config space by VFIO", pci.address());
        pci.config_read(0, &mut config).with_context(failed)?;
        Ok(Self {
            bars: Bar::all(&pci)?,
            config: Mutex::new(filter(&config)),
            stores: Arc::new(TrappedStores::new(service, capability(&pci))),
            gate,
            pci,
            logged: AtomicBool::new(false),
        })
    }

    /// Its emulated stores, which are to learn its device id.
    pub(crate) fn stores(&self) -> &Arc<TrappedStores> {
        &self.stores
    }

    fn bar(&self, bar: u8) -> Option<&Bar> {
        self.bars.get(usize::from(bar))?.as_ref()
    }

    fn trapped(&self) -> TrappedAccess<'_> {
        TrappedAccess { pci: &self.pci, stores: &self.stores }
    }

    fn device_config(&self, offset: u16) -> u8 {
        let mut byte = [0xff];
        if let Err(error) = self.pci.config_read(offset.into(), &mut byte) {
            tracing::debug!(device = %self.pci.address(), offset, "config read: {error}");
        }
        byte[0]
    }
}

impl PciFunction for VfioFunction {
    fn name(&self) -> String {
        format!("vfio {}", self.pci.address())
    }

    fn host_address(&self) -> Option<DeviceId> {
        Some(self.pci.address())
    }

    fn bars(&self) -> [Option<BarSpec>; 6] {
        self.bars.each_ref().map(|bar| bar.as_ref().map(Bar::spec))
    }

    fn msix_table_bar(&self) -> Option<u8> {
        self.pci.msix().map(|msix| msix.table_bar)
    }

    fn config_read(&self, offset: u16, data: &mut [u8]) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.read(offset, data, |at| self.device_config(at));
        drop(config);
        self.stores.config_read(offset, data, |at, bytes| {
            if let Err(error) = self.pci.config_read(at.into(), bytes) {
                tracing::debug!(device = %self.pci.address(), at, "config read: {error}");
            }
        });
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.stores.config_write(offset, data, |at, bytes| {
            if let Err(error) = self.pci.config_write(at.into(), bytes) {
                tracing::debug!(device = %self.pci.address(), at, "config write: {error}");
            }
        });
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let before = config.command();
        config.write(offset, data);
        let after = config.command();
        if (before ^ after) & BUS_MASTER == 0 {
            return;
        }
        // Under the lock, so that two vCPUs leave the device as they leave the register.
        if let Err(error) = self.pci.set_bus_master(after & BUS_MASTER != 0) {
            if self.logged.swap(true, Relaxed) {
                return;
            }
            tracing::error!(device = %self.pci.address(), "cannot write COMMAND: {error}");
        }
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        match self.bar(bar) {
            Some(bar) => bar.read(&self.trapped(), offset, data),
            None => data.fill(0xff),
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        if let Some(bar) = self.bar(bar) {
            bar.write(&self.trapped(), offset, data);
        }
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        self.bar(bar).map_or_else(Vec::new, |bar| bar.mapped_parts(self.gate.is_open()))
    }
}

/// Where the capability stands whose registers the service emulates.
fn capability(pci: &VfioPci) -> Range<u16> {
    match (pci.msix(), pci.msi()) {
        (Some(msix), _) => msix.offset..msix.offset + u16::from(MSIX_SIZE),
        (None, Some(msi)) => msi.offset..msi.offset + msi.size(),
        (None, None) => 0..0,
    }
}
