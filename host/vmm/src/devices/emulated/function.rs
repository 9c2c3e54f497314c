//! The emulated device as a PCI function: BAR0 registers, BAR2 the MSI-X table and the pending bit array, if it has them.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pvir_host::emulation::{SharedTable, StoreLayout};
use pvir_host::memory::GuestRam;
use pvir_host::service::Service;
use pvir_host::trapped::StoreArea;

use super::config::{TABLE_BAR, capability, config, msi, pending_byte};
use super::model::DeviceModel;
use super::registers::Registers;
use crate::devices::config::space::{BUS_MASTER, ConfigSpace};
use crate::devices::gate::Gate;
use crate::devices::region;
use crate::devices::trapped::TrappedStores;
use crate::pci::bars::{BarKind, BarSpec};
use crate::pci::function::{MappedPart, PciFunction};
use crate::vm::slots::SlotAccess;

const PAGE: u64 = 4096;
/// Bytes of one MSI-X table entry.
const ENTRY: u64 = 16;
const REGISTERS_BAR: u8 = 0;

/// The PCI function of the emulated device. While the gate is open the guest has the table for reading and writing and the pending bits for
/// reading; what exits all the same acts on the same memory. While it is closed the service emulates both. The MSI
/// capability is the device's at any time, and the service's beside it while the gate is closed.
pub(crate) struct EmulatedFunction {
    model: Arc<DeviceModel>,
    registers: Registers,
    config: Mutex<ConfigSpace>,
    gate: Arc<Gate>,
    stores: Arc<TrappedStores>,
}

impl EmulatedFunction {
    pub(crate) fn new(
        layout: StoreLayout,
        handles: &Range<u32>,
        ram: Arc<dyn GuestRam>,
        gate: Arc<Gate>,
        service: Arc<Service>,
    ) -> io::Result<Self> {
        let model = DeviceModel::new(layout, handles, ram)?;
        Ok(Self {
            registers: Registers::new(Arc::clone(&model)),
            config: Mutex::new(config(&layout)),
            gate,
            stores: Arc::new(TrappedStores::new(service, capability(&layout))),
            model,
        })
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset in BAR2 at which the pending bits begin: the length of the table in whole pages.
    fn pba(&self) -> u64 {
        SharedTable::pba_offset(self.model.layout().msix_entries())
    }

    /// The device behind the function, for the service.
    pub(crate) fn model(&self) -> &Arc<DeviceModel> {
        &self.model
    }

    /// Its emulated stores, which are to learn its device id.
    pub(crate) fn stores(&self) -> &Arc<TrappedStores> {
        &self.stores
    }

    /// The structure at an offset in its BAR, and the offset in it. The array of pending bits is as long as its page:
    /// behind its end it is zero.
    fn structure(&self, offset: u64) -> Option<(StoreArea, u64)> {
        let table = u64::from(self.model.layout().msix_entries()) * ENTRY;
        match offset.checked_sub(self.pba()) {
            Some(at) => (at < PAGE).then_some((StoreArea::PendingBits, at)),
            None => (offset < table).then_some((StoreArea::Table, offset)),
        }
    }
}

impl PciFunction for EmulatedFunction {
    fn name(&self) -> String {
        "emulated".to_owned()
    }

    fn bars(&self) -> [Option<BarSpec>; 6] {
        let bar = |size| Some(BarSpec { kind: BarKind::Memory32, size, prefetchable: false });
        let table = self.model.table().and_then(|_| bar((self.pba() + PAGE).next_power_of_two()));
        [bar(PAGE), None, table, None, None, None]
    }

    fn msix_table_bar(&self) -> Option<u8> {
        self.model.table().map(|_| TABLE_BAR)
    }

    fn config_read(&self, offset: u16, data: &mut [u8]) {
        let pending = self.model.msi_pending();
        self.config().read(offset, data, |at| pending_byte(self.model.layout(), pending, at));
        self.stores.config_read(offset, data, |_, _| {});
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.stores.config_write(offset, data, |_, _| {});
        // Under its lock, so that the device ends with what was written last.
        let mut config = self.config();
        config.write(offset, data);
        self.model.set_bus_master(config.command() & BUS_MASTER != 0);
        if let Some(registers) = msi(&config, self.model.layout()) {
            self.model.set_msi(registers);
        }
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match (bar, data.len(), self.model.table()) {
            (REGISTERS_BAR, 4, _) if offset % 4 == 0 => {
                data.copy_from_slice(&self.registers.read(offset).to_le_bytes());
            }
            (TABLE_BAR, _, Some(table)) => {
                if let Some((place, at)) = self.structure(offset) {
                    let direct = |data: &mut [u8]| region::read(table.memory(), offset, data);
                    self.stores.read(place, at, data, direct);
                }
            }
            _ => {}
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        match (bar, <[u8; 4]>::try_from(data), self.model.table()) {
            (REGISTERS_BAR, Ok(word), _) if offset % 4 == 0 => {
                self.registers.write(offset, u32::from_le_bytes(word));
            }
            (TABLE_BAR, _, Some(table)) => {
                // The pending bits are the device's.
                if let Some((StoreArea::Table, at)) = self.structure(offset) {
                    let direct = |data: &[u8]| region::write(table.memory(), offset, data);
                    self.stores.write(StoreArea::Table, at, data, direct);
                }
            }
            _ => {}
        }
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let table = self.model.table().filter(|_| bar == TABLE_BAR && self.gate.is_open());
        let Some(table) = table else { return Vec::new() };
        let part = |offset, size, access| MappedPart {
            offset,
            size,
            memory: Arc::clone(table.memory()) as _,
            memory_offset: offset,
            access,
        };
        let pba = self.pba();
        vec![part(0, pba, SlotAccess::ReadWrite), part(pba, PAGE, SlotAccess::ReadOnly)]
    }
}

#[cfg(test)]
mod tests {
    use pvir_abi::{Bdf, Conduits, DeviceId};
    use pvir_host::emulation::{MessageStore, MsiForm};
    use pvir_host::kvm::{GsiRoute, IrqRouter};
    use pvir_host::service::Config;
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    use vmm_sys_util::eventfd::EventFd;

    use super::super::EmulatedDevice;
    use super::*;
    use crate::devices::gate::GateWindow;

    /// A KVM that takes everything.
    struct AnyKvm;

    impl IrqRouter for AnyKvm {
        fn set_routes(&mut self, _: &[GsiRoute]) -> io::Result<()> {
            Ok(())
        }

        fn attach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
            Ok(())
        }

        fn detach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
            Ok(())
        }
    }

    fn of_shape(layout: StoreLayout) -> (EmulatedFunction, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let config = Config {
            apic_ids: vec![0],
            conduits: Conduits::PORT,
            msr: 0,
            port: 0x5058,
            first_gsi: 24,
            max_irtes: 4072,
            max_irtes_per_device: 2048,
            armed_ahead: 0,
        };
        let ram: Arc<GuestMemoryMmap> =
            Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
        let service = Arc::new(Service::new(&config, ram.clone(), Box::new(AnyKvm)).unwrap());
        let handles = 0..layout.handles();
        let function =
            EmulatedFunction::new(layout, &handles, ram, Arc::clone(&gate), Arc::clone(&service)).unwrap();
        let device =
            EmulatedDevice::new(Arc::clone(function.model()), Box::new(GateWindow(Arc::clone(&gate))));
        let id = DeviceId::new(0, Bdf(8));
        service.add_device(id, Box::new(device)).unwrap();
        function.stores().bind(id);
        (function, gate)
    }

    fn function() -> (EmulatedFunction, Arc<Gate>) {
        of_shape(StoreLayout::msix(300).unwrap())
    }

    fn word(function: &EmulatedFunction, bar: u8, offset: u64) -> u32 {
        let mut data = [0; 4];
        function.bar_read(bar, offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn table_and_pending_bits_are_mapped_while_open_only() {
        let (function, gate) = function();
        assert_eq!(function.bars()[2].unwrap().size, 0x4000);
        assert!(function.mapped_parts(2).is_empty());
        gate.set(true).unwrap();
        let parts: Vec<_> = function.mapped_parts(2).iter().map(|p| (p.offset, p.size, p.access)).collect();
        assert_eq!(parts, [(0, 0x2000, SlotAccess::ReadWrite), (0x2000, 0x1000, SlotAccess::ReadOnly)]);
        assert!(function.mapped_parts(0).is_empty());
    }

    #[test]
    fn the_trapped_table_is_masked_and_keeps_what_is_written() {
        let (function, _) = function();
        assert_eq!((word(&function, 2, 12), word(&function, 2, 299 * 16 + 12)), (1, 1));
        function.bar_write(2, 16, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((word(&function, 2, 16), word(&function, 2, 20)), (0x0403_0201, 0x0807_0605));
        function.bar_write(2, 0x2000, &[0xff; 4]);
        assert_eq!((word(&function, 2, 0x2000), word(&function, 2, 0x3ffc)), (0, 0));
        let mut control = [9; 4];
        function.config_read(0x40, &mut control);
        assert_eq!(control, [0x11, 0, 43, 1]);
        function.config_write(0x42, &[0xff, 0xff]);
        function.config_read(0x40, &mut control);
        assert_eq!(control, [0x11, 0, 43, 0xc1]);
    }

    #[test]
    fn registers_take_aligned_words_only() {
        let (function, _) = function();
        assert_eq!(word(&function, 0, 0), u32::from_le_bytes(*b"PVED"));
        assert_eq!((word(&function, 0, 4), word(&function, 0, 2)), (300, 0));
        let mut half = [9; 2];
        function.bar_read(0, 0, &mut half);
        assert_eq!(half, [0, 0]);
        function.bar_write(0, 8, &[7, 0]);
        assert_eq!(word(&function, 0, 8), 1);
        function.bar_write(0, 8, &7_u32.to_le_bytes());
        assert_eq!(word(&function, 0, 8), 7);
    }

    #[test]
    fn a_device_with_msi_has_no_table() {
        let form = MsiForm { wide: true, maskable: true };
        let (function, gate) = of_shape(StoreLayout::new(MessageStore::Msi(form), 4, 0).unwrap());
        gate.set(true).unwrap();
        assert_eq!((function.bars()[2], function.msix_table_bar()), (None, None));
        assert!(function.mapped_parts(2).is_empty());
        assert_eq!(word(&function, 2, 0), 0);
        function.bar_write(2, 0, &[1; 4]);
        // Message 2 is masked, and raised: its pending bit shows, and goes when it is unmasked.
        function.config_write(4, &[6, 0]);
        function.config_write(0x42, &[0x21, 0]);
        function.config_write(0x50, &[4, 0, 0, 0]);
        function.bar_write(0, 0x0c, &2_u32.to_le_bytes());
        let pending = || {
            let mut bytes = [0; 4];
            function.config_read(0x54, &mut bytes);
            bytes
        };
        assert_eq!(pending(), [4, 0, 0, 0]);
        function.config_write(0x50, &[0; 4]);
        assert_eq!(pending(), [0; 4]);
    }
}
