//! pvir's emulated device: a register raises any vector, others tell what became of it
//! (`docs/emulated-device.md`).

use super::Trigger;
use crate::memory::registers::Registers;

const IDENTITY: u64 = 0x00;
const VECTORS: u64 = 0x04;
const TIMES: u64 = 0x08;
const RAISE: u64 = 0x0c;
const SELECT: u64 = 0x10;
const SENT: u64 = 0x14;
const RATE_FIRST: u64 = 0x40;
const RATE_COUNT: u64 = 0x44;
const RATE_INTERVAL: u64 = 0x48;
const RATE_ROUNDS: u64 = 0x4c;
const RATE_RUN: u64 = 0x50;

/// `"PVED"`.
const IDENTITY_VALUE: u32 = u32::from_le_bytes(*b"PVED");

/// The device.
#[derive(Debug)]
pub(crate) struct Emulated(Registers);

impl Emulated {
    pub(super) const fn new(registers: Registers) -> Self {
        Self(registers)
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
