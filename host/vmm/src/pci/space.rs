//! The machine's address spaces, as its PCI functions have them: where BARs decode, and what of them is mapped.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use pvir_host::function::{BarMapper, BarRange, MappedPart};
use pvir_host::pci::BarKind;

use super::decoder::Decoder;
use crate::vm::address_bits::AddressBits;
use crate::vm::memory::GuestRange;
use crate::vm::slots::MemorySlots;

/// The memory and the ports of one machine.
#[derive(Debug)]
pub(crate) struct BusSpace {
    slots: Arc<MemorySlots>,
    /// Where no BAR may decode: RAM and the APICs.
    forbidden: Vec<GuestRange>,
    /// How far addresses reach.
    bits: AddressBits,
    memory: RwLock<Decoder>,
    ports: RwLock<Decoder>,
}

impl BusSpace {
    pub(crate) fn new(slots: Arc<MemorySlots>, forbidden: Vec<GuestRange>, bits: AddressBits) -> Self {
        Self { slots, forbidden, bits, memory: RwLock::default(), ports: RwLock::default() }
    }

    /// The memory BAR that has all `size` bytes from `address` on, and the offset in it.
    pub(crate) fn find_memory(&self, address: u64, size: usize) -> Option<(BarRange, u64)> {
        find(&self.memory, address, size)
    }

    /// The BAR of ports that has all `size` ports from `port` on, and the offset in it.
    pub(crate) fn find_port(&self, port: u16, size: usize) -> Option<(BarRange, u64)> {
        find(&self.ports, port.into(), size)
    }

    fn decoder(&self, range: &BarRange) -> &RwLock<Decoder> {
        if range.kind == BarKind::Io { &self.ports } else { &self.memory }
    }
}

impl BarMapper for BusSpace {
    fn decode(&self, range: &BarRange) -> io::Result<()> {
        let here = GuestRange::new(range.address, range.size);
        let in_the_way = |start: u64, size: u64| {
            let what = format!("{size:#x} bytes at {start:#x} are in the way");
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        };
        if range.kind != BarKind::Io {
            if range.end() > self.bits.limit() {
                let what = format!("the CPU has {} physical address bits", self.bits);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            if let Some(other) = self.forbidden.iter().find(|other| other.overlaps(&here)) {
                return in_the_way(other.start, other.size);
            }
        }
        let mut decoder = self.decoder(range).write().unwrap_or_else(PoisonError::into_inner);
        decoder.insert(range).or_else(|other| in_the_way(other.address, other.size))
    }

    fn stop_decoding(&self, range: &BarRange) {
        self.decoder(range).write().unwrap_or_else(PoisonError::into_inner).remove(range);
    }

    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let memory = Arc::clone(part.memory());
        self.slots.map(address, memory, part.memory_offset(), part.size(), part.access())
    }

    fn unmap(&self, address: u64, _part: &MappedPart) -> io::Result<()> {
        self.slots.unmap(address)
    }
}

/// The lock is not held while the function works.
fn find(decoder: &RwLock<Decoder>, address: u64, size: usize) -> Option<(BarRange, u64)> {
    let decoder = decoder.read().unwrap_or_else(PoisonError::into_inner);
    decoder.find(address, size).map(|(range, offset)| (*range, offset))
}
