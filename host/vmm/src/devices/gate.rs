//! Whether the guest has a device's table: opened by ENABLE, closed by DISABLE; the bus then maps or unmaps it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use pvir_host::device::TableWindow;

use crate::pci::bus::PciBus;
use crate::pci::function::DevFn;

/// One device's gate, shared by its PCI function, which asks, and its service side, which opens and closes.
#[derive(Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    /// Known once the bus is complete.
    function: OnceLock<(Weak<PciBus>, DevFn)>,
}

impl Gate {
    /// Whether the guest reaches the table without exits.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Names the bus and the function that maps and unmaps with the gate. Before that nothing is mapped.
    pub(crate) fn bind(&self, bus: &Arc<PciBus>, devfn: DevFn) {
        // A function stays where it is, so there is nothing to bind twice.
        let _ = self.function.set((Arc::downgrade(bus), devfn));
    }

    /// Opens it; closed again if it fails.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.set(true).inspect_err(|_| {
            // The first failure is the one to report.
            let _ = self.set(false);
        })
    }

    /// Sets it, and has the bus map or unmap. The caller holds no lock of the function.
    ///
    /// It fails only where KVM will not unmap. Where it will not map a page, the guest's accesses exit and the function
    /// serves them just the same.
    pub(crate) fn set(&self, open: bool) -> io::Result<()> {
        self.open.store(open, Ordering::SeqCst);
        let Some((bus, devfn)) = self.function.get() else { return Ok(()) };
        let Some(bus) = bus.upgrade() else { return Ok(()) };
        bus.refresh(*devfn).map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

/// The gate as the service's devices see it.
pub(crate) struct GateWindow(pub(crate) Arc<Gate>);

impl TableWindow for GateWindow {
    fn open(&mut self) -> io::Result<()> {
        self.0.open()
    }

    fn close(&mut self) -> io::Result<()> {
        self.0.set(false)
    }
}
