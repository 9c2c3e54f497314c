//! A host device as a PCI function of the guest.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use pvir_host::vfio::{TableWindow, VfioPci};

use super::bar::{Bar, Trapped};
use super::shadow::ShadowTable;
use crate::devices::config::filter::filter;
use crate::devices::config::space::{BUS_MASTER, ConfigSpace, SIZE};
use crate::devices::gate::Gate;
use crate::pci::bars::BarSpec;
use crate::pci::function::{MappedPart, PciFunction};

/// The function.
pub(crate) struct VfioFunction {
    /// Dropped before `pci`: a mapping keeps the device open.
    bars: [Option<Bar>; 6],
    pci: Arc<VfioPci>,
    config: Mutex<ConfigSpace>,
    shadow: Arc<ShadowTable>,
    gate: Arc<Gate>,
}

impl VfioFunction {
    pub(crate) fn new(pci: Arc<VfioPci>, gate: Arc<Gate>) -> Result<Self> {
        let mut config = [0; SIZE];
        let failed = || format!("{}: cannot read config space by VFIO", pci.address());
        pci.config_read(0, &mut config).with_context(failed)?;
        let entries = pci.msix().map_or(0, |msix| msix.entries);
        Ok(Self {
            bars: Bar::all(&pci)?,
            config: Mutex::new(filter(&config)),
            shadow: Arc::new(ShadowTable::new(entries)),
            gate,
            pci,
        })
    }

    /// How the service hands the table over.
    pub(crate) fn window(&self) -> Box<dyn TableWindow> {
        Box::new(ResettingWindow { gate: Arc::clone(&self.gate), shadow: Arc::clone(&self.shadow) })
    }

    fn bar(&self, bar: u8) -> Option<&Bar> {
        self.bars.get(usize::from(bar))?.as_ref()
    }

    fn trapped(&self) -> Trapped<'_> {
        Trapped { pci: &self.pci, shadow: &self.shadow, open: self.gate.is_open() }
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

    fn bars(&self) -> [Option<BarSpec>; 6] {
        self.bars.each_ref().map(|bar| bar.as_ref().map(Bar::spec))
    }

    fn msix_table_bar(&self) -> Option<u8> {
        self.pci.msix().map(|msix| msix.table_bar)
    }

    fn config_read(&self, offset: u16, data: &mut [u8]) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.read(offset, data, |at| self.device_config(at));
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let before = config.command();
        config.write(offset, data);
        let after = config.command();
        if (before ^ after) & BUS_MASTER == 0 {
            return;
        }
        // Under the lock, so that two vCPUs leave the device as they leave the register.
        if let Err(error) = self.pci.set_bus_master(after & BUS_MASTER != 0) {
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

/// The gate, with a shadow table that is as new each time it closes: the host has masked every entry by then.
struct ResettingWindow {
    gate: Arc<Gate>,
    shadow: Arc<ShadowTable>,
}

impl TableWindow for ResettingWindow {
    fn open(&mut self) -> io::Result<()> {
        self.gate.set(true);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.shadow.reset();
        self.gate.set(false);
        Ok(())
    }
}
