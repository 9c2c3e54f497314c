//! Intel 82576 (datasheet, section 8.8 "Interrupt Register Descriptions"), physical and virtual function: one
//! extended cause for each MSI-X vector, and a register that sets causes. The physical function can send messages from
//! its transmit queues too.

mod head_write_back;

use super::{ImsLocation, Trigger};
use crate::machine::memory::dma::Dma;
use crate::machine::memory::registers::Registers;
pub(crate) use head_write_back::HeadWriteBack;
use head_write_back::Queue;
use pvir_guest::Origin;

const GENERAL_PURPOSE_ENABLE: u64 = 0x1514;
const CAUSE_SET: u64 = 0x1520;
const MASK_SET: u64 = 0x1524;
const AUTO_CLEAR: u64 = 0x152c;
const CAUSE: u64 = 0x1580;

/// Several MSI-X vectors, and pending bits as MSI-X wants them.
const MULTIPLE_MSIX: u32 = 1 << 4;
const PENDING_BIT_SUPPORT: u32 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Physical,
    Virtual,
}

/// An Intel 82576 with its registers mapped.
#[derive(Debug)]
pub(crate) struct Igb {
    registers: Registers,
    vectors: u16,
    kind: Kind,
    /// Made when the first queue is used.
    ring: Option<Dma>,
}

impl Igb {
    pub(super) const fn physical(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors, kind: Kind::Physical, ring: None }
    }

    /// The virtual function has the same registers, less the general one.
    pub(super) const fn virtual_function(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors, kind: Kind::Virtual, ring: None }
    }

    fn all(&self) -> u32 {
        (1_u32 << self.vectors.min(31)) - 1
    }
}

impl Trigger for Igb {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn init(&mut self) {
        if self.kind == Kind::Physical {
            self.registers.write(GENERAL_PURPOSE_ENABLE, PENDING_BIT_SUPPORT | MULTIPLE_MSIX);
        }
        self.registers.write(AUTO_CLEAR, self.all());
        self.registers.write(CAUSE, self.all());
        self.registers.write(MASK_SET, self.all());
    }

    fn raise(&mut self, vector: u16) {
        self.registers.write(CAUSE_SET, 1 << vector.min(31));
    }

    fn acknowledge(&mut self, vector: u16) {
        self.registers.write(CAUSE, 1 << vector.min(31));
    }

    fn ims_locations(&self) -> u16 {
        if self.kind == Kind::Physical { head_write_back::QUEUES } else { 0 }
    }

    fn ims_location(&mut self, place: u16, origin: Origin) -> Option<ImsLocation> {
        let queue = Queue::new(self.registers, place).filter(|_| self.kind == Kind::Physical)?;
        let ring = self.ring.or_else(head_write_back::ring)?;
        self.ring = Some(ring);
        Some(ImsLocation::First(HeadWriteBack::claim(queue, ring, origin)))
    }

    fn raise_ims(&mut self, place: u16) {
        if let Some(queue) = Queue::new(self.registers, place) {
            queue.send();
        }
    }
}
