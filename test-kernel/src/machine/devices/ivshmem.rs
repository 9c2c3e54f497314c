//! QEMU's inter-VM shared memory (docs/specs/ivshmem-spec.rst): a doorbell that a VM may also ring at itself.

use super::Trigger;
use crate::machine::memory::registers::Registers;

const OWN_ID: u64 = 0x8;
const DOORBELL: u64 = 0xc;

/// An ivshmem device with its registers mapped.
#[derive(Debug)]
pub(crate) struct Ivshmem {
    registers: Registers,
    vectors: u16,
    own_id: u32,
}

impl Ivshmem {
    pub(super) const fn new(registers: Registers, vectors: u16) -> Self {
        Self { registers, vectors, own_id: 0 }
    }
}

impl Trigger for Ivshmem {
    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn init(&mut self) {
        self.own_id = self.registers.read(OWN_ID);
    }

    fn raise(&mut self, vector: u16) {
        self.registers.write(DOORBELL, self.own_id << 16 | u32::from(vector));
    }

    /// A doorbell has no cause to clear.
    fn acknowledge(&mut self, _vector: u16) {}
}
