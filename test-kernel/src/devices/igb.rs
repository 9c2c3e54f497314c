//! Intel 82576 (datasheet, section 8.8 "Interrupt Register Descriptions"), physical and virtual function: one
//! extended cause for each MSI-X vector, and a register that sets causes.

use super::Trigger;
use crate::memory::registers::Registers;

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

/// The device.
#[derive(Debug)]
pub(crate) struct Igb {
    registers: Registers,
    vectors: u16,
    kind: Kind,
}

impl Igb {
    pub(super) const fn physical(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors, kind: Kind::Physical }
    }

    /// The virtual function has the same registers, less the general one.
    pub(super) const fn virtual_function(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors, kind: Kind::Virtual }
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
}
