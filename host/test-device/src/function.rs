//! The emulated device as a PCI function: BAR0 registers, BAR2 the MSI-X table and the pending bit array, if it has them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use pvir_abi::DeviceId;
use pvir_host::device::StoreShape;
use pvir_host::emulation::StoreLayout;
use pvir_host::function::{BarMapper, EmulatedFunction, FunctionModel, NewFunction};
use pvir_host::mapping::RegionMap;
use pvir_host::memory::GuestRam;
use pvir_host::pci::{BarSpec, Identity, MsiRegisters};
use pvir_host::service::Service;

use super::device::{EmulatedDevice, shape};
use super::error::TestDeviceError;
use super::events::DeviceEvents;
use super::model::DeviceModel;
use super::registers::Registers;
use super::saved;
use super::{DEVICE_ID, VENDOR_ID};

const PAGE: u64 = 4096;
const REGISTERS_BAR: u8 = 0;
/// BAR of the MSI-X table and the pending bit array.
const TABLE_BAR: u8 = 2;

/// A test device at `id`, the segment and BDF at which the guest finds it, and the memory of its MSI-X table if it has one.
///
/// `layout` says which stores it has. `handles` are its own among the handles of the VM's emulated devices, as a
/// [`HandlePool`](pvir_host::emulation::HandlePool) gives them for this layout. The device reads and writes `ram` by DMA,
/// and maps its table into the guest by `mapper`. The VMM attaches the answer to its service
/// ([`NewFunction::attach`]).
///
/// # Errors
/// [`TestDeviceError`]: the kernel has no memory for the table, or the library refuses the function.
pub fn function(
    id: DeviceId,
    layout: StoreLayout,
    handles: &Range<u32>,
    ram: Arc<dyn GuestRam>,
    mapper: Arc<dyn BarMapper>,
) -> Result<(NewFunction, Option<Arc<RegionMap>>), TestDeviceError> {
    make(id, layout, handles, ram, mapper, None)
}

/// The same device, which raises events of itself when the guest writes its register EVENT, so that guests can be tested
/// with them and the conformance suite can judge the host's. `service` is the one to which the VMM attaches the answer. A
/// guest can cut its own device off by it, and no other: it is for tests.
///
/// # Errors
/// As [`function`].
pub fn function_with_events(
    id: DeviceId,
    layout: StoreLayout,
    handles: &Range<u32>,
    ram: Arc<dyn GuestRam>,
    mapper: Arc<dyn BarMapper>,
    service: &Arc<Service>,
) -> Result<(NewFunction, Option<Arc<RegionMap>>), TestDeviceError> {
    make(id, layout, handles, ram, mapper, Some(DeviceEvents::new(service, id)))
}

fn make(
    id: DeviceId,
    layout: StoreLayout,
    handles: &Range<u32>,
    ram: Arc<dyn GuestRam>,
    mapper: Arc<dyn BarMapper>,
    events: Option<DeviceEvents>,
) -> Result<(NewFunction, Option<Arc<RegionMap>>), TestDeviceError> {
    let model = DeviceModel::new(layout, handles, ram)?;
    let behind = Behind { registers: Registers::new(Arc::clone(&model), events), model: Arc::clone(&model) };
    let identity = Identity::new(VENDOR_ID, DEVICE_ID);
    let function = EmulatedFunction::new(id, "emulated", identity, Arc::new(behind))
        .with_bar(REGISTERS_BAR, BarSpec::memory32(PAGE))
        .with_reset();
    let function = match (model.table(), shape(&layout)) {
        (Some(table), _) => function.with_msix(TABLE_BAR, table),
        (None, StoreShape::Msi(shape)) => function.with_msi(shape),
        (None, _) => function,
    };
    let table = model.table().map(|table| Arc::clone(table.memory()));
    let new = function.finish_with_device(mapper, |window| Box::new(EmulatedDevice::new(model, window)))?;
    Ok((new, table))
}

/// What is behind the function.
struct Behind {
    model: Arc<DeviceModel>,
    registers: Registers,
}

impl FunctionModel for Behind {
    /// The registers take aligned words only.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if bar == REGISTERS_BAR && data.len() == 4 && offset % 4 == 0 {
            data.copy_from_slice(&self.registers.read(offset).to_le_bytes());
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        match <[u8; 4]>::try_from(data) {
            Ok(word) if bar == REGISTERS_BAR && offset % 4 == 0 => {
                self.registers.write(offset, u32::from_le_bytes(word));
            }
            _ => {}
        }
    }

    fn set_bus_master(&self, on: bool) {
        self.model.set_bus_master(on);
    }

    fn set_msi(&self, registers: MsiRegisters) {
        self.model.set_msi(registers);
    }

    fn reset(&self) {
        self.registers.reset();
    }

    fn pause(&self) {
        self.model.set_paused(true);
    }

    fn resume(&self) {
        self.model.set_paused(false);
    }

    fn save(&self) -> io::Result<Vec<u8>> {
        saved::save(&self.model, &self.registers)
    }

    fn restore(&self, inside: &[u8]) -> io::Result<()> {
        saved::restore(&self.model, &self.registers, inside)
    }

    fn msi_pending(&self) -> u32 {
        self.model.msi_pending()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use pvir_abi::{Bdf, Conduits};
    use pvir_host::emulation::{MessageStore, MsiForm};
    use pvir_host::eventfd::EventFd;
    use pvir_host::function::PciFunction;
    use pvir_host::kvm::{GsiRoute, IrqRouter};
    use pvir_host::service::{Config, Service};
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use pvir_host::function::MappedPart;

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

    impl BarMapper for AnyKvm {
        fn map(&self, _: u64, _: &MappedPart) -> io::Result<()> {
            Ok(())
        }

        fn unmap(&self, _: u64, _: &MappedPart) -> io::Result<()> {
            Ok(())
        }
    }

    const ID: DeviceId = DeviceId::new(0, Bdf(8));

    fn ram() -> Arc<GuestMemoryMmap> {
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap())
    }

    fn service(ram: Arc<GuestMemoryMmap>) -> Arc<Service> {
        let config = Config::new(vec![0], Conduits::PORT);
        Arc::new(Service::new(&config, ram, Box::new(AnyKvm)).unwrap())
    }

    fn of_shape(layout: StoreLayout) -> Arc<PciFunction> {
        let (id, ram) = (ID, ram());
        let service = service(Arc::clone(&ram));
        let (new, table) =
            super::function(id, layout, &(0..layout.handles()), ram, Arc::new(AnyKvm)).unwrap();
        assert_eq!(table.is_some(), layout.msix_entries() > 0);
        new.attach(&service).unwrap()
    }

    fn function() -> Arc<PciFunction> {
        of_shape(StoreLayout::msix(300).unwrap())
    }

    fn word(function: &PciFunction, bar: u8, offset: u64) -> u32 {
        let mut data = [0; 4];
        function.bar_read(bar, offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn a_guest_finds_the_device_and_its_bars() {
        let function = function();
        let mut id = [0; 4];
        function.config_read(0, &mut id);
        assert_eq!(id, [0x56, 0x50, 1, 0]);
        let bars = [(0, BarSpec::memory32(0x1000)), (2, BarSpec::memory32(0x4000))];
        assert_eq!((function.bars(), function.msix_table_bar()), (bars.to_vec(), Some(2)));
    }

    #[test]
    fn the_trapped_table_is_masked_and_keeps_what_is_written() {
        let function = function();
        assert_eq!((word(&function, 2, 12), word(&function, 2, 299 * 16 + 12)), (1, 1));
        function.bar_write(2, 16, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((word(&function, 2, 16), word(&function, 2, 20)), (0x0403_0201, 0x0807_0605));
        function.bar_write(2, 0x2000, &[0xff; 4]);
        assert_eq!((word(&function, 2, 0x2000), word(&function, 2, 0x3ffc)), (0, 0));
        let mut control = [9; 4];
        function.config_read(0x40, &mut control);
        assert_eq!(control, [0x11, 0x60, 43, 1]);
        function.config_write(0x42, &[0xff, 0xff]);
        function.config_read(0x40, &mut control);
        assert_eq!(control, [0x11, 0x60, 43, 0xc1]);
    }

    #[test]
    fn a_function_level_reset_reaches_table_and_registers() {
        let function = function();
        let mut capabilities = [0; 4];
        function.config_read(0x64, &mut capabilities);
        assert_eq!(capabilities, [0, 0x80, 0, 0x10]);
        function.config_write(0x42, &[0, 0x80]);
        function.bar_write(2, 16, &[1; 8]);
        function.bar_write(0, 8, &7_u32.to_le_bytes());
        function.config_write(0x68, &[0, 0x80]);
        assert_eq!((word(&function, 2, 16), word(&function, 0, 8)), (0, 1));
        let mut control = [0; 2];
        function.config_read(0x42, &mut control);
        assert_eq!(control, [43, 1]);
    }

    #[test]
    fn registers_take_aligned_words_only() {
        let function = function();
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
        let function = of_shape(StoreLayout::new(MessageStore::Msi(form), 4, 0).unwrap());
        assert_eq!((function.bars().len(), function.msix_table_bar()), (1, None));
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

    #[test]
    fn a_guest_has_events_of_its_own_device_raised_where_the_vmm_lets_it() {
        let (layout, ram) = (StoreLayout::msix(4).unwrap(), ram());
        let service = service(Arc::clone(&ram));
        let handles = 0..layout.handles();
        let (new, _) = function_with_events(ID, layout, &handles, ram, Arc::new(AnyKvm), &service).unwrap();
        let function = new.attach(&service).unwrap();
        let request = |reason: u32| function.bar_write(0, 0x54, &reason.to_le_bytes());
        assert_eq!(word(&function, 0, 0x54), 0b1110);
        request(3);
        assert_eq!(service.is_cut_off(ID), Some(true));
        for unknown in [4, 77, u32::MAX] {
            request(unknown);
        }
        // No guest has enabled pvir: there are no pairs.
        request(1);
        request(0);
        assert_eq!(service.is_cut_off(ID), Some(false));
        request(2);
        assert_eq!(service.is_cut_off(ID), None, "it is gone");
        request(3);
        assert_eq!((word(&function, 0, 0), word(&function, 0, 0x54)), (u32::from_le_bytes(*b"PVED"), 0b1110));
        request(0);
        request(0);
        assert_eq!(service.is_cut_off(ID), Some(false), "it is there again");
        let plain = self::function();
        plain.bar_write(0, 0x54, &3_u32.to_le_bytes());
        assert_eq!(word(&plain, 0, 0x54), 0);
    }
}
