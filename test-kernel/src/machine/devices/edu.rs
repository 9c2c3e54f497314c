//! QEMU's educational device (docs/specs/edu.rst): one MSI, and DMA to and from a buffer of its own.

use super::Trigger;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::memory::registers::Registers;

const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const DMA_FROM: u64 = 0x80;
const DMA_TO: u64 = 0x88;
const DMA_LENGTH: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
/// Bits of the command: begin (set until it is done), and from the buffer to memory.
const DMA_BEGIN: u32 = 1;
const DMA_TO_MEMORY: u32 = 1 << 1;
/// Where the buffer is for the DMA.
const BUFFER: u32 = 0x4_0000;
const WORD_LEN: u32 = 4;
/// Any bit of the cause will do.
const CAUSE: u32 = 1;

/// An edu device with its registers mapped.
#[derive(Debug)]
pub(crate) struct Edu(Registers);

impl Edu {
    pub(super) const fn new(registers: Registers) -> Self {
        Self(registers)
    }

    /// Fetches a word from memory by DMA, and writes it to another address; whether both were done. The device takes a
    /// tenth of a second for each, and has the addresses below its option `dma_mask`.
    pub(crate) fn copy_word(&self, from: u32, to: u32) -> bool {
        self.dma(from, BUFFER, DMA_BEGIN) && self.send_word(to)
    }

    /// Writes the word that was fetched.
    fn send_word(&self, to: u32) -> bool {
        self.dma(BUFFER, to, DMA_BEGIN | DMA_TO_MEMORY)
    }

    fn dma(&self, from: u32, to: u32, command: u32) -> bool {
        let values = [(DMA_FROM, from), (DMA_TO, to), (DMA_LENGTH, WORD_LEN), (DMA_COMMAND, command)];
        values.into_iter().for_each(|(register, value)| self.0.write(register, value));
        wait_until(PATIENCE_MS, || self.0.read(DMA_COMMAND) & DMA_BEGIN == 0)
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
