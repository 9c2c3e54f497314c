//! The device as a guest and the service use it, in one process.

mod dma;
mod ims;
mod msi;
mod msix;
mod page;
mod rate;
mod reset;
mod saved;
mod trapped;

use super::EmulatedDevice;
use super::model::DeviceModel;
use super::registers::{
    BLOCKED, HELD, IMS_BASE_HIGH, IMS_BASE_LOW, RAISE, Registers, SELECT, SENT, SEQUENCES_HIGH, SEQUENCES_LOW,
};
use pvir_abi::{GuestPhysAddr, Pair, Store};
use pvir_host::device::TableWindow;
use pvir_host::device::{CountPurpose, Device, HostInterrupt, KernelCounts};
use pvir_host::emulation::{MessageStore, StoreLayout};
use pvir_host::eventfd::EventFd;
use pvir_host::mapping::RegionMap;
use pvir_host::memory::GuestRam;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// RAM of the guest from 0 on.
const RAM: usize = 0x1_0000;

struct NoWindow;

impl TableWindow for NoWindow {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the guest has of the device; its vCPUs share it.
struct Guest {
    model: Arc<DeviceModel>,
    registers: Registers,
    ram: Arc<GuestMemoryMmap>,
}

struct DeviceUnderTest {
    guest: Guest,
    device: EmulatedDevice,
}

impl std::ops::Deref for DeviceUnderTest {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

fn eventfd() -> EventFd {
    EventFd::new().unwrap()
}

impl DeviceUnderTest {
    /// Bus master on, but not open.
    fn new(store: MessageStore, vectors: u32, ims: u32) -> Self {
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
        let layout = StoreLayout::new(store, vectors, ims).unwrap();
        let model = DeviceModel::new(layout, &(0..layout.handles()), Arc::clone(&ram) as _).unwrap();
        model.set_bus_master(true);
        let device = EmulatedDevice::new(Arc::clone(&model), Box::new(NoWindow));
        let registers = Registers::new(Arc::clone(&model), None);
        Self { guest: Guest { model, registers, ram }, device }
    }

    /// Three MSI-X entries and four of IMS, open.
    fn open() -> Self {
        let mut tested = Self::new(MessageStore::Msix, 3, 4);
        tested.device.open().unwrap();
        tested
    }

    /// What the host counts.
    fn counted(&self) -> Vec<HostInterrupt> {
        self.device.host_counts().unwrap().read(&KernelCounts::default(), CountPurpose::Report)
    }

    /// Starts an entry; answers with its pair and what it signals.
    fn start(&mut self, store: Store, index: u32) -> (Pair, EventFd) {
        let eventfd = eventfd();
        self.device.start(store, index, &[&eventfd]).unwrap();
        self.device.mask(store, index).unwrap();
        (self.device.pair(store, index).unwrap(), eventfd)
    }
}

impl Guest {
    fn table(&self) -> &RegionMap {
        self.model.table().unwrap().memory()
    }

    /// Writes a message into the table, and leaves its mask alone.
    fn program(&self, entry: u64, pair: Pair) {
        let [low, high] = halves(pair.address);
        for (word, value) in [(0, low), (4, high), (8, pair.data)] {
            self.table().write(entry * 16 + word, value).unwrap();
        }
    }

    fn set_mask(&self, entry: u64, masked: bool) {
        self.table().write(entry * 16 + 12, u32::from(masked)).unwrap();
    }

    fn raise(&self, number: u32) {
        self.registers.write(RAISE, number);
    }

    /// Sent, blocked, held.
    fn counts(&self, number: u32) -> (u32, u32, u32) {
        self.registers.write(SELECT, number);
        let read = |register| self.registers.read(register);
        (read(SENT), read(BLOCKED), read(HELD))
    }

    fn set_address(&self, [low, high]: [u64; 2], address: u64) {
        let [low_half, high_half] = halves(address);
        self.registers.write(low, low_half);
        self.registers.write(high, high_half);
    }

    fn set_ims_base(&self, address: u64) {
        self.set_address([IMS_BASE_LOW, IMS_BASE_HIGH], address);
    }

    fn set_sequences(&self, address: u64) {
        self.set_address([SEQUENCES_LOW, SEQUENCES_HIGH], address);
    }

    fn write_ram(&self, at: u64, bytes: &[u8]) {
        GuestRam::write(&*self.ram, GuestPhysAddr(at), bytes).unwrap();
    }

    fn sequence(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        GuestRam::read(&*self.ram, GuestPhysAddr(at), &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }
}

fn halves(address: u64) -> [u32; 2] {
    [(address & 0xffff_ffff) as u32, (address >> 32) as u32]
}

/// Waits for something that another thread does.
fn eventually(condition: impl FnMut() -> bool) -> bool {
    patience::until(Duration::from_secs(30), condition)
}
