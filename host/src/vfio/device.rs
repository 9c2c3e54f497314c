//! A host PCI device behind the service's [`Device`] interface.

use super::interrupt_sum::InterruptSum;
use super::interrupts::DeviceCounts;
use super::msix_table::PhysicalMsixTable;
use super::pci::VfioPci;
use super::vectors::{SetIrqs, Vectors, kind};
use crate::device::{Capabilities, Device, HostCounts, NotIsolated, StoreShape, TableWindow};
use crate::eventfd::EventFd;
use pvir_abi::{DeviceFlags, Pair, Refusal, Store, Stores};
use std::io;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};

const PAGE: u64 = 4096;

/// A host PCI device whose interrupts a guest programs, or the VMM emulates.
pub struct VfioDevice {
    /// Dropped before `pci`: a mapping keeps the device open.
    table: Option<PhysicalMsixTable>,
    pci: Arc<VfioPci>,
    vectors: Vectors,
    counts: Arc<DeviceCounts>,
    window: Box<dyn TableWindow>,
    suspended: Option<Suspended>,
}

/// What `wake` brings back.
struct Suspended {
    /// Entries of the MSI-X table that were not masked.
    live: Vec<u32>,
    bus_master: bool,
}

impl VfioDevice {
    /// A device of the service over an open VFIO device. The MSI-X table is mapped into this process now; `window`
    /// maps it into the guest at ENABLE.
    ///
    /// # Errors
    /// The errno of mapping the BAR that holds the MSI-X table.
    pub fn new(pci: Arc<VfioPci>, window: Box<dyn TableWindow>) -> io::Result<Self> {
        let table = match pci.msix() {
            Some(msix) if pci.is_mappable(msix.table_bar) => {
                let bar = Arc::new(pci.map_bar(msix.table_bar)?);
                Some(PhysicalMsixTable::new(bar, msix, pci.unit()))
            }
            _ => None,
        };
        let vectors = Vectors::new(pci.msix().map_or(0, |msix| msix.entries), pci.is_dynamic());
        let counts = Arc::new(DeviceCounts::new(pci.address(), InterruptSum::new(&pci.folder())));
        Ok(Self { table, vectors, counts, pci, window, suspended: None })
    }

    fn table(&self) -> io::Result<&PhysicalMsixTable> {
        self.table.as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn msi_pair(&self) -> io::Result<Pair> {
        let msi = self.pci.msi().ok_or(io::ErrorKind::Unsupported)?;
        let read = || -> io::Result<Pair> {
            let config = self.pci.physical_config()?;
            let word = |at: u16| u16::from_le_bytes([config[usize::from(at)], config[usize::from(at) + 1]]);
            let dword = |at: u16| u64::from(word(at)) | u64::from(word(at + 2)) << 16;
            let high = if msi.shape.wide { dword(msi.offset + 8) } else { 0 };
            Ok(Pair { address: dword(msi.offset + 4) | high << 32, data: u32::from(word(msi.data_offset())) })
        };
        let (first, second) = (read()?, read()?);
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if first != second {
            return Err(invalid(format!("the MSI capability read {first}, then {second}")));
        }
        self.pci.unit().validate(first).map_err(|what| invalid(format!("MSI: {what}")))?;
        Ok(first)
    }

    /// The guest masks in the registers that the VMM shows it: nothing may be masked behind its back. The kernel unmasks
    /// each message that it starts (Linux 6.12, drivers/pci/msi/irqdomain.c, `pci_irq_unmask_msi`).
    fn check_msi_unmasked(&self) -> io::Result<()> {
        let Some(msi) = self.pci.msi().filter(|msi| msi.shape.maskable) else { return Ok(()) };
        let config = self.pci.physical_config()?;
        let at = usize::from(msi.data_offset()) + 4;
        let masked = (0..4).fold(0, |bits, byte| bits | u32::from(config[at + byte]) << (8 * byte));
        let ours = u32::MAX >> 32u32.saturating_sub(self.vectors.msi()).min(31);
        match masked & ours {
            0 => Ok(()),
            bits => Err(io::Error::other(format!("the host left MSI messages masked: {bits:#x}"))),
        }
    }
}

impl Device for VfioDevice {
    /// The kernel takes the eventfd's context, and not its file (`eventfd_ctx_fdget` in
    /// drivers/vfio/pci/vfio_pci_intrs.c, Linux 6.12).
    fn releases_eventfds(&self) -> bool {
        true
    }

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
                    stores: Stores::MSIX | Stores::IMS,
                    flags,
                    msix_entries: msix.entries,
                    ims_entries: msix.entries,
                    msi_messages: 0,
                }
            }
            (None, Some(msi)) => Capabilities {
                stores: Stores::MSI,
                msi_messages: msi.shape.messages(),
                ..Capabilities::default()
            },
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

    /// MSI-X is switched on here, once, because that masks every entry.
    fn open(&mut self) -> io::Result<()> {
        self.vectors.open(self.pci.irqs())?;
        if self.pci.msix().is_none() {
            return Ok(());
        }
        let opened = self.table().and_then(PhysicalMsixTable::mask_all).and_then(|()| self.window.open());
        opened.inspect_err(|_| {
            // The first failure is the one to report.
            let _ = self.vectors.close(self.pci.irqs());
        })
    }

    fn close(&mut self) -> io::Result<()> {
        // The guest first: it must not write into a table that the host takes down.
        let closed = if self.pci.msix().is_some() { self.window.close() } else { Ok(()) };
        let closed = closed.and(self.vectors.close(self.pci.irqs()));
        self.counts.given_back(Store::MSIX);
        closed
    }

    fn shape(&self) -> StoreShape {
        match (self.pci.msix(), self.pci.msi()) {
            (Some(msix), _) => StoreShape::Msix(msix.entries),
            (None, Some(msi)) => StoreShape::Msi(msi.shape),
            (None, None) => StoreShape::None,
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
            _ => kind(store).map(|_| ()),
        }
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        match store {
            // Its messages went with `stop`, and VFIO refuses to disable what is not enabled.
            Store::MSI => Ok(()),
            _ => {
                self.counts.given_back(store);
                self.pci.irqs().disable(kind(store)?)
            }
        }
    }

    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        self.vectors.backing(store, index)
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
        let started = self.vectors.start(self.pci.irqs(), store, first, eventfds);
        self.counts.sum_of_irqs().have_changed();
        started
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        self.vectors.stop(self.pci.irqs(), store, first, count)?;
        if store == Store::MSI {
            self.counts.given_back(store);
        } else {
            let stopped = first..first.saturating_add(count);
            self.counts.stopped(stopped.map(|index| self.vectors.backing(store, index)));
        }
        Ok(())
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        if let Some(messages) = self.pci.messages() {
            let message = match self.vectors.backing(store, index) {
                (Store::MSIX, entry) => messages.message(VFIO_PCI_MSIX_IRQ_INDEX, entry)?,
                // The others differ from it in the low bits of the data, which the device puts there.
                (Store::MSI, _) => messages.message(VFIO_PCI_MSI_IRQ_INDEX, 0)?,
                _ => return Err(io::ErrorKind::Unsupported.into()),
            };
            let invalid =
                |what| io::Error::new(io::ErrorKind::InvalidData, format!("the kernel's message: {what}"));
            return self.pci.unit().validate(message).map(|()| message).map_err(invalid);
        }
        match self.vectors.backing(store, index) {
            (Store::MSIX, entry) => self.table()?.pair(entry),
            (Store::MSI, _) => self.msi_pair(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The place of an IMS entry in the table stays masked for good: the guest has its message elsewhere.
    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        match self.vectors.backing(store, index) {
            (Store::MSIX, entry) => self.table()?.mask(entry).map(|()| store == Store::MSIX),
            (Store::MSI, _) => self.check_msi_unmasked().map(|()| false),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The kernel restores what it knows of: the entries that it has allocated. The mask bits of the others are the
    /// device's, and not every device sets them in a reset (QEMU's `e1000e` does not).
    fn mask_all(&mut self) -> io::Result<()> {
        self.table.as_ref().map_or(Ok(()), PhysicalMsixTable::mask_all)
    }

    fn is_saved(&self) -> bool {
        self.pci.state().is_some()
    }

    /// Masked first, so that what it raises until Bus Master Enable is off is pending in it, and not lost.
    fn suspend(&mut self, store: Store) -> io::Result<Vec<u32>> {
        let bus_master = self.pci.is_bus_master();
        let live = self.table.as_ref().map_or(Ok(Vec::new()), PhysicalMsixTable::mask_live)?;
        let suspended = self.suspended.insert(Suspended { live, bus_master });
        if suspended.bus_master {
            if let Err(error) = self.pci.set_bus_master(false) {
                let _ = self.wake();
                return Err(error);
            }
        }
        let entries = self.capabilities().entries(store).filter(|_| store == Store::MSIX).unwrap_or(0);
        Ok((0..entries).filter(|index| self.pending(store, *index)).collect())
    }

    fn wake(&mut self) -> io::Result<()> {
        let Some(Suspended { live, bus_master }) = self.suspended.take() else { return Ok(()) };
        let mastered = if bus_master { self.pci.set_bus_master(true) } else { Ok(()) };
        mastered.and(self.table.as_ref().map_or(Ok(()), |table| table.unmask(&live)))
    }

    fn hold_off(&mut self, held: bool) -> io::Result<()> {
        self.pci.hold_bus_master(held)
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        Some(Arc::clone(&self.counts) as Arc<dyn HostCounts>)
    }
}
