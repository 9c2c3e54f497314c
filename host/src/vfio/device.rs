//! A VFIO device behind the service's device trait.

use super::msix_table::MsixTable;
use super::pci::VfioPci;
use crate::device::{Capabilities, Device, HostInterrupt, NotIsolated};
use crate::trapped::Shape;
use pvir_abi::{DeviceFlags, Pair, Refusal, Store, Stores};
use std::io;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};
use vmm_sys_util::eventfd::EventFd;

const PAGE: u64 = 4096;

/// How the VMM hands the MSI-X table to the guest, and takes it back.
pub trait TableWindow: Send {
    /// Maps the pages of the table into the guest: its accesses reach the device.
    ///
    /// # Errors
    /// As the kernel gave it; nothing is then mapped.
    fn open(&mut self) -> io::Result<()>;

    /// Unmaps them: the guest's accesses are trapped.
    ///
    /// # Errors
    /// As the kernel gave it.
    fn close(&mut self) -> io::Result<()>;
}

/// A host PCI device, programmed by the guest.
pub struct VfioDevice {
    /// Dropped before `pci`: a mapping keeps the device open.
    table: Option<MsixTable>,
    pci: Arc<VfioPci>,
    window: Box<dyn TableWindow>,
}

impl VfioDevice {
    /// Over an open device. The table is mapped into this process here; the guest gets it with ENABLE.
    ///
    /// # Errors
    /// As the kernel gave it.
    pub fn new(pci: Arc<VfioPci>, window: Box<dyn TableWindow>) -> io::Result<Self> {
        let table = match pci.msix() {
            Some(msix) if pci.is_mappable(msix.table_bar) => {
                let bar = Arc::new(pci.map_bar(msix.table_bar)?);
                Some(MsixTable::new(bar, msix, pci.unit()))
            }
            _ => None,
        };
        Ok(Self { pci, table, window })
    }

    fn kind(store: Store) -> io::Result<u32> {
        match store {
            Store::MSIX => Ok(VFIO_PCI_MSIX_IRQ_INDEX),
            Store::MSI => Ok(VFIO_PCI_MSI_IRQ_INDEX),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn table(&self) -> io::Result<&MsixTable> {
        self.table.as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn msi_pair(&self) -> io::Result<Pair> {
        let msi = self.pci.msi().ok_or(io::ErrorKind::Unsupported)?;
        let read = || -> io::Result<Pair> {
            let config = self.pci.physical_config()?;
            let word = |at: u16| u16::from_le_bytes([config[usize::from(at)], config[usize::from(at) + 1]]);
            let dword = |at: u16| u64::from(word(at)) | u64::from(word(at + 2)) << 16;
            let high = if msi.wide { dword(msi.offset + 8) } else { 0 };
            Ok(Pair { address: dword(msi.offset + 4) | high << 32, data: u32::from(word(msi.data_offset())) })
        };
        let (first, second) = (read()?, read()?);
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if first != second {
            return Err(invalid(format!("the MSI capability read {first}, then {second}")));
        }
        self.pci.unit().judge(first).map_err(|what| invalid(format!("MSI: {what}")))?;
        Ok(first)
    }
}

impl Device for VfioDevice {
    /// A device with both capabilities is served by MSI-X: the two cannot be enabled at once.
    fn capabilities(&self) -> Capabilities {
        match (self.pci.msix(), self.pci.msi()) {
            (Some(msix), _) => {
                // A BAR of less than a page cannot be mapped into a guest: the accesses exit, and reach the table all
                // the same.
                let mut flags = DeviceFlags::empty();
                flags.set(DeviceFlags::DIRECT, self.pci.bar_size(msix.table_bar) % PAGE == 0);
                flags.set(DeviceFlags::DYNAMIC, self.pci.is_dynamic());
                Capabilities {
                    stores: Stores::MSIX,
                    flags,
                    msix_entries: msix.entries,
                    ..Capabilities::default()
                }
            }
            (None, Some(_)) => {
                Capabilities { stores: Stores::MSI, msi_messages: 1, ..Capabilities::default() }
            }
            (None, None) => Capabilities::default(),
        }
    }

    fn name(&self) -> String {
        format!("vfio {}", self.pci.address())
    }

    fn isolated(&self) -> Result<(), NotIsolated> {
        self.pci.isolated()?;
        if self.pci.msix().is_some() && self.table.is_none() {
            return Err(NotIsolated {
                refusal: Refusal::TABLE_NOT_MAPPABLE,
                what: format!("{}: the kernel does not let the MSI-X table be mapped", self.pci.address()),
                remedy: "use a kernel whose vfio-pci has VFIO_REGION_INFO_CAP_MSIX_MAPPABLE (4.16 or newer)"
                    .into(),
            });
        }
        Ok(())
    }

    /// MSI-X is switched on here, once, because that masks every entry. Without dynamic MSI-X every entry must be
    /// allocated now: a later growth would tear all of them down.
    fn open(&mut self) -> io::Result<()> {
        let Some(msix) = self.pci.msix() else { return Ok(()) };
        let allocate = if self.pci.is_dynamic() { 1 } else { msix.entries };
        self.pci.irqs().stop(VFIO_PCI_MSIX_IRQ_INDEX, 0, allocate)?;
        let opened = self.table().and_then(MsixTable::mask_all).and_then(|()| self.window.open());
        opened.inspect_err(|_| {
            // The first failure is the one to tell of.
            let _ = self.pci.irqs().disable(VFIO_PCI_MSIX_IRQ_INDEX);
        })
    }

    fn close(&mut self) -> io::Result<()> {
        if self.pci.msix().is_none() {
            return Ok(());
        }
        // The guest first: it must not write into a table that the host takes down.
        let closed = self.window.close();
        closed.and(self.pci.irqs().disable(VFIO_PCI_MSIX_IRQ_INDEX))
    }

    fn shape(&self) -> Shape {
        match (self.pci.msix(), self.pci.msi()) {
            (Some(msix), _) => Shape::Msix(msix.entries),
            (None, Some(msi)) => Shape::Msi(msi.shape()),
            (None, None) => Shape::None,
        }
    }

    /// MSI-X is switched on, as in `open`: entries that are not started are masked, and the device holds what it raises.
    /// The messages of MSI come at once, with the first.
    fn trap(&mut self, store: Store) -> io::Result<()> {
        match self.pci.msix() {
            Some(msix) if store == Store::MSIX => {
                let allocate = if self.pci.is_dynamic() { 1 } else { msix.entries };
                self.pci.irqs().stop(VFIO_PCI_MSIX_IRQ_INDEX, 0, allocate)
            }
            _ => Self::kind(store).map(|_| ()),
        }
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        match store {
            // Its messages went with `stop`, and VFIO refuses to disable what is not enabled.
            Store::MSI => Ok(()),
            _ => self.pci.irqs().disable(Self::kind(store)?),
        }
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        let Some(msix) = self.pci.msix().filter(|msix| store == Store::MSIX && index < msix.entries) else {
            return false;
        };
        let mut word = [0; 4];
        let at = msix.pba_offset + u64::from(index / 32 * 4);
        let read = self.pci.bar_read(msix.pba_bar, at, &mut word);
        read.is_ok() && u32::from_le_bytes(word) >> (index % 32) & 1 != 0
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        self.pci.irqs().start(Self::kind(store)?, first, eventfds)
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        let kind = Self::kind(store)?;
        match store {
            // Its only message: without it the capability goes off.
            Store::MSI => self.pci.irqs().disable(kind),
            _ => self.pci.irqs().stop(kind, first, count),
        }
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        match store {
            Store::MSIX => self.table()?.pair(index),
            Store::MSI => self.msi_pair(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        match store {
            Store::MSIX => self.table()?.mask(index).map(|()| true),
            _ => Ok(false),
        }
    }

    /// As the kernel counts them: none if `/proc/interrupts` cannot be read.
    fn host_interrupts(&self) -> Vec<HostInterrupt> {
        self.pci.host_interrupts().unwrap_or_default()
    }
}
