//! pvir's emulated device: a register raises any vector, others tell what became of it
//! (`host/src/emulated/registers.rs`).

use super::Trigger;
use crate::memory::registers::Registers;

const IDENTITY: u64 = 0x00;
const VECTORS: u64 = 0x04;
const TIMES: u64 = 0x08;
const RAISE: u64 = 0x0c;
const SELECT: u64 = 0x10;
const SENT: u64 = 0x14;

/// `"PVED"`.
const IDENTITY_VALUE: u32 = u32::from_le_bytes(*b"PVED");

/// The device.
#[derive(Debug)]
pub(crate) struct Emulated(Registers);

impl Emulated {
    pub(super) const fn new(registers: Registers) -> Self {
        Self(registers)
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
}
