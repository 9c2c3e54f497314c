//! A service with one function, and a guest that enables pvir.

use super::*;
use crate::device::{Capabilities, Device, NotIsolated, StoreShape, TableWindow};
use crate::eventfd::EventFd;
use crate::function::physical::{Physical, PhysicalFunction};
use crate::kvm::{GsiRoute, IrqRouter};
use crate::pci::MsiShape;
use crate::service::{Config, RateLimit, Service, StormLimit};
use crate::vfio::DeviceState;
use pvir_abi::{
    Bdf, CallFlags, Conduits, DeviceFlags, EnableRecord, EventArea, GuestPhysAddr, Header, Operation, Pair,
    Status, Store, Stores, Version,
};
use std::io;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress as RamAddress, GuestMemoryMmap};
use zerocopy::{FromZeros, IntoBytes};

pub(super) const RW: GuestAccess = GuestAccess::ReadWrite;
pub(super) const ID: DeviceId = DeviceId { segment: 0, bdf: Bdf(8) };
const BLOCK: u64 = 0x1000;
const AREA: u64 = 0x2040;

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

/// A device of the service that has nothing but a window.
pub(super) struct WindowDevice {
    pub(super) shape: StoreShape,
    pub(super) window: Box<dyn TableWindow>,
}

impl Device for WindowDevice {
    fn capabilities(&self) -> Capabilities {
        let (stores, flags, msix_entries, msi_messages) = match self.shape {
            StoreShape::Msix(entries) => {
                (Stores::MSIX, DeviceFlags::DIRECT | DeviceFlags::DYNAMIC, entries, 0)
            }
            StoreShape::Msi(shape) => (Stores::MSI, DeviceFlags::empty(), 0, shape.messages()),
            StoreShape::None => (Stores::empty(), DeviceFlags::empty(), 0, 0),
        };
        Capabilities { stores, flags, msix_entries, msi_messages, ims_entries: 0 }
    }

    fn name(&self) -> String {
        "window".into()
    }

    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        self.window.open()
    }

    fn close(&mut self) -> io::Result<()> {
        self.window.close()
    }

    fn shape(&self) -> StoreShape {
        self.shape
    }

    fn trap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }

    fn untrap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }

    fn start(&mut self, _: Store, _: u32, _: &[&EventFd]) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: Store, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn pair(&mut self, _: Store, _: u32) -> io::Result<Pair> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn mask(&mut self, _: Store, _: u32) -> io::Result<bool> {
        Ok(true)
    }
}

/// What a test has.
pub(super) struct Fixture {
    pub(super) function: Arc<PciFunction>,
    pub(super) mapper: FakeMapper,
    pub(super) pci: Arc<FakePci>,
    pub(super) service: Arc<Service>,
    ram: Arc<GuestMemoryMmap>,
}

pub(super) fn service() -> (Arc<Service>, Arc<GuestMemoryMmap>) {
    service_with(RateLimit::OFF)
}

fn service_with(rate_limit: RateLimit) -> (Arc<Service>, Arc<GuestMemoryMmap>) {
    let config = Config {
        apic_ids: vec![0],
        conduits: Conduits::PORT,
        msr: 0,
        port: 0x5058,
        first_gsi: 24,
        max_irtes: 64,
        max_irtes_per_device: 64,
        armed_ahead: 0,
        rate_limit,
        storm_limit: StormLimit::OFF,
    };
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(RamAddress(0), 0x4000)]).unwrap());
    let service = Service::new(&config, Arc::clone(&ram) as _, Box::new(AnyKvm)).unwrap();
    (Arc::new(service), ram)
}

impl Fixture {
    /// The 82576, its BARs at 0xc000_0000 and 0xc010_0000, with decode off.
    pub(super) fn new() -> Self {
        let fixture = Self::of(FakePci::new(), StoreShape::Msix(fake_pci::ENTRIES));
        fixture.function.set_bar_address(fake_pci::REGISTERS.0, 0xc000_0000).unwrap();
        fixture.function.set_bar_address(fake_pci::TABLE.0, 0xc010_0000).unwrap();
        fixture
    }

    pub(super) fn with_msi() -> Self {
        let shape = MsiShape { wide: true, maskable: true, messages_log2: 2 };
        Self::of(FakePci::with_msi(), StoreShape::Msi(shape))
    }

    pub(super) fn with_state(state: Box<dyn DeviceState>) -> Self {
        Self::of(FakePci::with_state(state), StoreShape::Msix(fake_pci::ENTRIES))
    }

    pub(super) fn area(&self) -> EventArea {
        let mut area = EventArea::new_zeroed();
        self.ram.read_slice(area.as_mut_bytes(), RamAddress(AREA)).unwrap();
        area
    }

    pub(super) fn with_vendor_specific() -> Self {
        Self::of(FakePci::with_vendor_specific(), StoreShape::Msix(fake_pci::ENTRIES))
    }

    /// A guest that has no burst, and a share so large that it waits for no time to speak of.
    pub(super) fn limited() -> Self {
        let rate_limit = RateLimit::percent(1_000_000).with_burst(Duration::ZERO);
        let fixture =
            Self::with(service_with(rate_limit), FakePci::new(), StoreShape::Msix(fake_pci::ENTRIES));
        fixture.function.set_bar_address(fake_pci::REGISTERS.0, 0xc000_0000).unwrap();
        fixture.function.set_bar_address(fake_pci::TABLE.0, 0xc010_0000).unwrap();
        fixture
    }

    pub(super) fn with_pci_express() -> Self {
        Self::of(FakePci::with_pci_express(), StoreShape::Msix(fake_pci::ENTRIES))
    }

    fn of(pci: Arc<FakePci>, shape: StoreShape) -> Self {
        Self::with(service(), pci, shape)
    }

    fn with(
        (service, ram): (Arc<Service>, Arc<GuestMemoryMmap>),
        pci: Arc<FakePci>,
        shape: StoreShape,
    ) -> Self {
        let mapper = FakeMapper::default();
        let physical = Physical::new(Arc::clone(&pci) as Arc<dyn PhysicalFunction>).unwrap();
        let new = NewFunction::of_physical(physical, ID, Arc::new(mapper.clone()), |window| {
            Ok(Box::new(WindowDevice { shape, window }))
        });
        let function = new.unwrap().attach(&service).unwrap();
        Self { function, mapper, pci, service, ram }
    }

    /// Memory decode on.
    pub(super) fn decoding() -> Self {
        let fixture = Self::new();
        fixture.function.config_write(4, &[2, 0]);
        fixture
    }

    pub(super) fn enable(&self) -> Status {
        let record = EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)));
        self.call(Operation::ENABLE, record.as_bytes(), 1)
    }

    pub(super) fn disable(&self) -> Status {
        self.call(Operation::DISABLE, &[], 0)
    }

    fn call(&self, operation: Operation, records: &[u8], count: u32) -> Status {
        let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
        self.ram.write_slice(header.as_bytes(), RamAddress(BLOCK)).unwrap();
        self.ram.write_slice(records, RamAddress(BLOCK + size_of::<Header>() as u64)).unwrap();
        self.service.call(0, 0, GuestPhysAddr(BLOCK))
    }

    pub(super) fn config<const N: usize>(&self, offset: u16) -> [u8; N] {
        let mut data = [0x5a; N];
        self.function.config_read(offset, &mut data);
        data
    }

    pub(super) fn bar<const N: usize>(&self, bar: u8, offset: u64) -> [u8; N] {
        let mut data = [0x5a; N];
        self.function.bar_read(bar, offset, &mut data);
        data
    }

    /// The guest writes a BAR's (low) register.
    pub(super) fn move_bar(&self, bar: u8, address: u32) {
        self.function.config_write(0x10 + 4 * u16::from(bar), &address.to_le_bytes());
    }
}
