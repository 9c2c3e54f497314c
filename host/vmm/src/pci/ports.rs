//! Configuration mechanism 1 ("PCI Local Bus Specification, Revision 3.0", section 3.2.2.3.2): an address at port 0xcf8,
//! data at 0xcfc to 0xcff.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bus::{PciBus, Slot};
use super::devfn::DevFn;
use crate::vm::layout;

const ENABLE: u32 = 1 << 31;

/// The two ports in front of a bus.
pub(crate) struct ConfigPorts {
    bus: Arc<PciBus>,
    address: AtomicU32,
}

impl ConfigPorts {
    pub(crate) fn new(bus: Arc<PciBus>) -> Self {
        Self { bus, address: AtomicU32::new(0) }
    }

    /// The machine is reset: no address is selected.
    pub(crate) fn reset(&self) {
        self.address.store(0, Ordering::Relaxed);
    }

    /// The address that is selected.
    pub(crate) fn address(&self) -> u32 {
        self.address.load(Ordering::Relaxed)
    }

    /// Selects an address, as a write to its port does.
    pub(crate) fn set_address(&self, address: u32) {
        self.address.store(address, Ordering::Relaxed);
    }

    /// Reads a port. Answers with the index, in the counters, of the function that was read.
    pub(crate) fn read(&self, port: u16, data: &mut [u8]) -> Option<usize> {
        data.fill(0xff);
        if port == layout::PCI_ADDRESS && data.len() == 4 {
            data.copy_from_slice(&self.address.load(Ordering::Relaxed).to_le_bytes());
            return None;
        }
        let (slot, offset) = self.target(port, data.len())?;
        slot.registers().config_read(offset, data);
        Some(slot.index())
    }

    /// Writes a port. Answers with the index, in the counters, of the function that was written.
    pub(crate) fn write(&self, port: u16, data: &[u8]) -> Option<usize> {
        if port == layout::PCI_ADDRESS {
            if let Ok(bytes) = data.try_into() {
                self.address.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
            }
            return None;
        }
        let (slot, offset) = self.target(port, data.len())?;
        slot.registers().config_write(offset, data);
        Some(slot.index())
    }

    /// The function that a data access means, and the offset in its config space; `None` where nothing answers.
    fn target(&self, port: u16, size: usize) -> Option<(Arc<Slot>, u16)> {
        let (devfn, offset) = decode(self.address.load(Ordering::Relaxed), port, size)?;
        Some((self.bus.slot(devfn)?, offset))
    }
}

/// Splits a configuration address on bus 0.
fn decode(address: u32, port: u16, size: usize) -> Option<(DevFn, u16)> {
    let within = port.checked_sub(layout::PCI_DATA).filter(|within| usize::from(*within) + size <= 4)?;
    let [register, devfn, bus, top] = address.to_le_bytes();
    // Some CPUs have bits 11:8 of a register's number in the top byte; no function here has such registers.
    if u32::from(top) << 24 != ENABLE || bus != 0 {
        return None;
    }
    Some((DevFn::from_byte(devfn), u16::from(register & !3) + within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_words_of_a_doubleword_are_reached() {
        let address = ENABLE | 2 << 11 | 0x10;
        assert_eq!(decode(address, 0xcfc, 4), Some((DevFn::device(2), 0x10)));
        assert_eq!(decode(address, 0xcfe, 2), Some((DevFn::device(2), 0x12)));
        assert_eq!(decode(address, 0xcff, 1), Some((DevFn::device(2), 0x13)));
    }

    #[test]
    fn nothing_answers_across_a_doubleword_on_another_bus_or_when_disabled() {
        assert_eq!(decode(ENABLE, 0xcff, 2), None);
        assert_eq!(decode(ENABLE | 1 << 16, 0xcfc, 4), None);
        assert_eq!(decode(0x800, 0xcfc, 4), None);
        assert_eq!(decode(ENABLE | 1 << 24, 0xcfc, 4), None, "extended config space");
    }
}
