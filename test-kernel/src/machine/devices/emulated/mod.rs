//! pvir's emulated device: a register raises any vector, others tell what became of it
//! (`docs/emulated-device.md`).

mod ims;

use super::{Device, ImsLocation, Trigger};
use crate::machine::memory::registers::{Registers, halves};
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
pub(crate) use ims::Doorbell;
use pvir_guest::Origin;
use pvir_guest::abi::DeviceId;

const IDENTITY: u64 = 0x00;
const VECTORS: u64 = 0x04;
const TIMES: u64 = 0x08;
const RAISE: u64 = 0x0c;
const SELECT: u64 = 0x10;
const SENT: u64 = 0x14;
const IMS_ENTRIES: u64 = 0x24;
const IMS_BASE_LOW: u64 = 0x28;
const IMS_BASE_HIGH: u64 = 0x2c;
const IMS_DOORBELL: u64 = 0x30;
const DMA_FAULTS: u64 = 0x34;
const SEQUENCES_LOW: u64 = 0x38;
const SEQUENCES_HIGH: u64 = 0x3c;
const RATE_FIRST: u64 = 0x40;
const RATE_COUNT: u64 = 0x44;
const RATE_INTERVAL: u64 = 0x48;
const RATE_ROUNDS: u64 = 0x4c;
const RATE_RUN: u64 = 0x50;
const EVENT: u64 = 0x54;

/// `"PVED"`.
const IDENTITY_VALUE: u32 = u32::from_le_bytes(*b"PVED");

/// An emulated device of pvir with its registers mapped.
#[derive(Debug)]
pub(crate) struct Emulated(Registers);

impl Emulated {
    pub(super) const fn new(registers: Registers) -> Self {
        Self(registers)
    }

    /// The first one with MSI-X, ready.
    pub(crate) fn find() -> Option<(DeviceId, Self)> {
        let functions = pci::enumerate();
        functions.iter().filter(|function| function.msix().is_some()).find_map(Self::open)
    }

    /// This function, ready, if it is one.
    pub(crate) fn open(function: &Function) -> Option<(DeviceId, Self)> {
        let Ok(Some(Device::Emulated(mut driver))) = super::probe(function) else { return None };
        driver.init();
        Some((device_id(function.address)?, driver))
    }

    /// Writes an address into a pair of registers, the high half last.
    fn write_address(&self, low: u64, high: u64, address: u64) {
        let (low_half, high_half) = halves(address);
        self.0.write(low, low_half);
        self.0.write(high, high_half);
    }

    /// Has the device write, before each interrupt, how often it has raised it: 64 bits for each at this address.
    pub(crate) fn write_sequences(&self, address: u64) {
        self.write_address(SEQUENCES_LOW, SEQUENCES_HIGH, address);
    }

    /// Numbers that it could not write.
    pub(crate) fn dma_faults(&self) -> u32 {
        self.0.read(DMA_FAULTS)
    }

    /// Rounds of [`Self::run`] that are to come.
    pub(crate) fn rounds_left(&self) -> u32 {
        self.0.read(RATE_RUN)
    }

    /// Has the device raise `count` interrupts from number `first` on, every `microseconds`, `rounds` times.
    pub(crate) fn run(&self, first: u32, count: u32, microseconds: u32, rounds: u32) {
        let values =
            [(RATE_FIRST, first), (RATE_COUNT, count), (RATE_INTERVAL, microseconds), (RATE_ROUNDS, rounds)];
        for (register, value) in values {
            self.0.write(register, value);
        }
        self.0.write(RATE_RUN, 1);
    }

    /// Stops what [`Self::run`] began: nothing more is raised by it.
    pub(crate) fn stop(&self) {
        self.0.write(RATE_RUN, 0);
    }
}

impl Trigger for Emulated {
    fn vectors(&self) -> u16 {
        let known = self.0.read(IDENTITY) == IDENTITY_VALUE;
        if known { u16::try_from(self.0.read(VECTORS)).unwrap_or(0) } else { 0 }
    }

    fn init(&mut self) {
        self.0.write(TIMES, 1);
    }

    fn raise(&mut self, vector: u16) {
        self.0.write(RAISE, vector.into());
    }

    fn acknowledge(&mut self, _vector: u16) {}

    fn sent(&self, vector: u16) -> Option<u64> {
        self.0.write(SELECT, vector.into());
        Some(self.0.read(SENT).into())
    }

    fn ims_locations(&self) -> u16 {
        u16::try_from(self.0.read(IMS_ENTRIES)).unwrap_or(0)
    }

    fn ims_location(&mut self, place: u16, origin: Origin) -> Option<ImsLocation> {
        let array = ims::Array::of(origin.device, self.ims_locations().into())?;
        self.write_address(IMS_BASE_LOW, IMS_BASE_HIGH, array.address);
        array.claim(place.into(), origin, self.0).map(ImsLocation::Second)
    }

    fn raise_ims(&mut self, place: u16) {
        self.0.write(RAISE, self.0.read(VECTORS) + u32::from(place));
    }

    fn events(&self) -> u32 {
        self.0.read(EVENT)
    }

    fn demand_event(&mut self, reason: u32) {
        self.0.write(EVENT, reason);
    }
}
