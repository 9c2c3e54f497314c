//! Intel 82574 (datasheet, section 10.2.4 "Interrupt Register Descriptions"): four queue causes, each given a
//! vector of its own. QEMU's model sends the message of a cause twice when its throttling timer runs, and
//! takes the cause out of the mask each time.

use super::Trigger;
use crate::machine::memory::registers::Registers;

const CAUSE: u64 = 0xc0;
const CAUSE_SET: u64 = 0xc8;
const MASK_SET: u64 = 0xd0;
const AUTO_CLEAR: u64 = 0xdc;
const ALLOCATION: u64 = 0xe4;

/// Causes RXQ0, RXQ1, TXQ0 and TXQ1 are bits 20 to 23.
const FIRST_CAUSE: u32 = 20;
const QUEUES: u16 = 4;
/// Each nibble of the allocation register: a vector, and a bit that makes it count.
const VALID: u32 = 8;

/// An Intel 82574 with its registers mapped.
#[derive(Debug)]
pub(crate) struct E1000e {
    registers: Registers,
    vectors: u16,
}

impl E1000e {
    pub(super) fn new(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors: vectors.min(QUEUES) }
    }

    fn all(&self) -> u32 {
        ((1 << self.vectors) - 1) << FIRST_CAUSE
    }
}

impl Trigger for E1000e {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn init(&mut self) {
        let allocation = (0..u32::from(QUEUES)).fold(0, |all, queue| all | (VALID | queue) << (4 * queue));
        self.registers.write(ALLOCATION, allocation);
        self.registers.write(AUTO_CLEAR, self.all());
        self.registers.write(CAUSE, self.all());
        self.registers.write(MASK_SET, self.all());
    }

    fn repeats(&self) -> bool {
        true
    }

    fn raise(&mut self, vector: u16) {
        let cause = 1 << (FIRST_CAUSE + u32::from(vector.min(QUEUES - 1)));
        self.registers.write(MASK_SET, cause);
        self.registers.write(CAUSE_SET, cause);
    }

    fn acknowledge(&mut self, vector: u16) {
        self.registers.write(CAUSE, 1 << (FIRST_CAUSE + u32::from(vector.min(QUEUES - 1))));
    }
}
