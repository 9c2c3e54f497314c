//! PCI functions as a guest sees them, for any VMM: configuration space, BARs, and the MSI and MSI-X structures.
//!
//! - [`PciFunction`]: one function. The VMM brings it the guest's accesses, wherever its bus has them from.
//! - [`BarMapper`]: what the VMM does for its functions: it decodes BARs, and maps [`MappedPart`]s into the guest.
//! - [`PciFunction::vfio`]: the function of a host device. What the guest sees of its configuration space is an
//!   allow-list, and which pages of its BARs are mapped depends on who has the MSI-X table.
//! - [`EmulatedFunction`]: the function of an emulated device, which is a [`FunctionModel`].
//! - [`NewFunction`]: a function that is complete but for the service, which gets the device of it.
//!
//! ```text
//! guest's access ──exit──► PciFunction ──► configuration space, BARs ──► BarMapper::decode, map, unmap
//!                                     ├──► MSI-X table, pending bits, MSI ──► Service::trapped_read, _write
//!                                     └──► the device: VFIO, FunctionModel
//! ENABLE, DISABLE ──► Device::open, close ──► TableWindow ──► BarMapper::map, unmap
//! ```
//!
//! Both halves follow from the same state, whatever comes first: a table that is open while its BAR moves, moves.
//!
//! Each trapped access to a table, pending bits or capability is told at level TRACE under the target
//! `pvir_host::accesses`.

mod backend;
mod emulated;
mod error;
mod mapper;
mod model;
mod new_function;
mod physical;
mod physical_bar;
mod placement;
mod registers;
mod reset;
mod saved;
mod stores;
mod structures;
#[cfg(test)]
mod tests;
mod window;

pub use emulated::EmulatedFunction;
pub use error::FunctionError;
pub use mapper::{BarMapper, BarRange, GuestAccess, MappedPart};
pub use model::FunctionModel;
pub use new_function::NewFunction;
pub use saved::SavedFunction;

use crate::pci::{BarKind, BarSpec};
use placement::Placement;
use pvir_abi::DeviceId;
use registers::doublewords;
use std::sync::Arc;
use stores::TrappedStores;

/// One PCI function of a guest. vCPUs call it at the same time.
///
/// When it is dropped, nothing of it is mapped any more. It should be dropped before the
/// [`Service`](crate::service::Service) is, and after [`Service::shut_down`](crate::service::Service::shut_down).
pub struct PciFunction {
    placement: Arc<Placement>,
    /// Nothing for what has no interrupts.
    stores: Option<TrappedStores>,
}

impl PciFunction {
    /// The segment and BDF at which the guest finds the function.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.placement.id()
    }

    /// For people and reports, for example `vfio 0000:01:00.0`.
    #[must_use]
    pub fn name(&self) -> String {
        self.placement.backend().name()
    }

    /// What kind of device it is. A function of the same kind can take its place when the VM is restored, if
    /// [`restore`](Self::restore) takes it: for example `vfio 8086:10c9`, by vendor and device id.
    #[must_use]
    pub fn kind(&self) -> String {
        self.placement.backend().kind()
    }

    /// Where the device is on the host, if it is one of the host.
    #[must_use]
    pub fn host_address(&self) -> Option<DeviceId> {
        self.placement.backend().host_address()
    }

    /// The BAR that holds the MSI-X table, if the function has one.
    #[must_use]
    pub fn msix_table_bar(&self) -> Option<u8> {
        self.placement.backend().msix_table_bar()
    }

    /// The BARs, each by the number of its first register.
    #[must_use]
    pub fn bars(&self) -> Vec<(u8, BarSpec)> {
        self.placement.registers().bars.iter().collect()
    }

    /// The address in a BAR's registers, whether it decodes or not; `None` if there is no such BAR.
    #[must_use]
    pub fn bar_address(&self, bar: u8) -> Option<u64> {
        self.placement.registers().bars.address(bar)
    }

    /// Writes the address of a BAR into its registers, as firmware does before the guest starts. COMMAND decides whether
    /// the BAR decodes there.
    ///
    /// # Errors
    /// [`FunctionError::NoSuchBar`] if there is no such BAR or the address is not aligned to its size. Otherwise
    /// [`FunctionError::Mapper`] if the BAR decodes, and the VMM has not unmapped what was mapped at the old address.
    pub fn set_bar_address(&self, bar: u8, address: u64) -> Result<(), FunctionError> {
        if !self.placement.registers().set_address(bar, address) {
            return Err(FunctionError::NoSuchBar { function: self.id(), bar, address });
        }
        self.placement.update()
    }

    /// For a VMM whose own bus has the BARs and the decode bits: says where it has put a BAR, or, with `None`, that the BAR
    /// does not decode. From then on what the guest writes into this BAR and into the decode bits by
    /// [`config_write`](Self::config_write) moves it no more.
    ///
    /// # Errors
    /// [`FunctionError::NoSuchBar`] if there is no such BAR or the address is not aligned to its size. Otherwise
    /// [`FunctionError::Mapper`] if the VMM has not unmapped what was mapped at the old address.
    pub fn place_bar(&self, bar: u8, address: Option<u64>) -> Result<(), FunctionError> {
        if !self.placement.registers().place(bar, address) {
            let address = address.unwrap_or(0);
            return Err(FunctionError::NoSuchBar { function: self.id(), bar, address });
        }
        self.placement.update()
    }

    /// The ranges that the BARs decode now.
    #[must_use]
    pub fn decoded(&self) -> Vec<BarRange> {
        self.placement.decoded()
    }

    /// The memory BAR that decodes all `len` bytes at a guest physical address, and the offset in it.
    #[must_use]
    pub fn find_memory(&self, address: u64, len: usize) -> Option<(u8, u64)> {
        self.find(address, len, |kind| kind != BarKind::Io)
    }

    /// The BAR of ports that decodes all `len` ports from this one on, and the offset in it.
    #[must_use]
    pub fn find_port(&self, port: u16, len: usize) -> Option<(u8, u64)> {
        self.find(port.into(), len, |kind| kind == BarKind::Io)
    }

    fn find(&self, address: u64, len: usize, of: impl Fn(BarKind) -> bool) -> Option<(u8, u64)> {
        self.placement.find(|range| {
            let offset = range.offset_of(address, len).filter(|_| of(range.kind))?;
            Some((range.bar, offset))
        })
    }

    /// Serves the guest's read of configuration space, of any width from any byte on.
    ///
    /// Nothing is behind the first 256 bytes: it reads as zero. All is ones while the device does not answer, because a
    /// reset of it has failed.
    pub fn config_read(&self, offset: u16, data: &mut [u8]) {
        if self.placement.is_silent() {
            return data.fill(0xff);
        }
        data.fill(0);
        for (at, part) in doublewords(offset, data.len()) {
            let Some(bytes) = data.get_mut(part) else { return };
            let backend = self.placement.backend();
            // The reader is made first: it may take the device's lock.
            let reader = backend.config_reader();
            let registers = self.placement.registers();
            registers.read(at, bytes, &reader);
            let forwarded: Vec<_> = registers.config.forwarded(at, bytes.len()).collect();
            drop((registers, reader));
            for range in forwarded {
                let first = at.saturating_add(u16::try_from(range.start).unwrap_or(u16::MAX));
                bytes.get_mut(range).into_iter().for_each(|bytes| backend.device_read(first, bytes));
            }
            if let Some(stores) = &self.stores {
                stores.config_read(at, bytes, |at, bytes| backend.device_read(at, bytes));
            }
        }
    }

    /// Serves the guest's write to configuration space, of any width from any byte on. Each byte follows its own rule.
    /// What moves BARs has happened when it returns, and so has a reset, which may take the device some 100 ms.
    pub fn config_write(&self, offset: u16, data: &[u8]) {
        let (mut moves, mut resets) = (false, false);
        for (at, part) in doublewords(offset, data.len()) {
            let Some(bytes) = data.get(part) else { break };
            let backend = self.placement.backend();
            if let Some(stores) = &self.stores {
                stores.config_write(at, bytes, |at, bytes| backend.device_write(at, bytes));
            }
            // Under its lock, so that the device ends with what was written last.
            let mut registers = self.placement.registers();
            resets |= registers.config.asks_for_reset(at, bytes);
            let command = registers.config.command();
            moves |= registers.write(at, bytes);
            backend.config_written(&registers.config, command);
            for range in registers.config.forwarded(at, bytes.len()) {
                let first = at.saturating_add(u16::try_from(range.start).unwrap_or(u16::MAX));
                bytes.get(range).into_iter().for_each(|bytes| backend.device_write(first, bytes));
            }
        }
        if resets {
            self.reset_for_guest();
        } else if moves {
            let slots = self.placement.update_for_guest();
            // What has no interrupts has no service to be charged by.
            self.stores.iter().for_each(|stores| stores.charge_slots(slots));
        }
    }

    /// Takes the function from the guest for good, as an unplug does: nothing of it decodes or is mapped any more. The VMM
    /// takes its device from the service ([`Service::remove_device`](crate::service::Service::remove_device)), and brings it
    /// no more accesses.
    pub fn withdraw(&self) {
        self.placement.end();
    }

    /// Serves the guest's read of a BAR that exited. What no device has reads as ones.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.placement.backend().bar_read(self.stores.as_ref(), bar, offset, data);
    }

    /// Serves the guest's write to a BAR that exited.
    pub fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        self.placement.backend().bar_write(self.stores.as_ref(), bar, offset, data);
    }
}

/// What of the function is mapped goes before the function does: a mapping would keep a host device open.
impl Drop for PciFunction {
    fn drop(&mut self) {
        self.placement.end();
    }
}
