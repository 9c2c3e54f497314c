//! QEMU's educational device (docs/specs/edu.rst): one MSI.

use super::Trigger;
use crate::machine::memory::registers::Registers;

const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
/// Any bit of the cause will do.
const CAUSE: u32 = 1;

/// An edu device with its registers mapped.
#[derive(Debug)]
pub(crate) struct Edu(Registers);

impl Edu {
    pub(super) const fn new(registers: Registers) -> Self {
        Self(registers)
    }
}

impl Trigger for Edu {
    fn vectors(&self) -> u16 {
        1
    }

    fn init(&mut self) {
        self.0.write(ACKNOWLEDGE, u32::MAX);
    }

    fn raise(&mut self, _vector: u16) {
        self.0.write(RAISE, CAUSE);
    }

    fn acknowledge(&mut self, _vector: u16) {
        self.0.write(ACKNOWLEDGE, CAUSE);
    }
}
