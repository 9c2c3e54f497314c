//! Messages from a place of the device's own: the 82576 writes the head of a transmit queue, four bytes, to an address
//! of the driver's choice when it has processed a descriptor (datasheet, section 7.2.3 "Transmit Completions Head Write
//! Back", and 8.12.15 "Tx Descriptor Completion Write Back Address"). With the address of a pair that write is the
//! message, and its data is the head: the queue is set up so that the next head is what the pair says. Sixteen queues
//! make sixteen places, none of which the host knows, and none of which can be masked.

use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::memory::dma::Dma;
use crate::machine::memory::registers::{Registers, halves};
use pvir_guest::abi::Pair;
use pvir_guest::{Mask, Origin, StoreEntry};

/// Queues.
pub(super) const QUEUES: u16 = 16;

/// Transmit Control, and its enable bit.
const CONTROL: u64 = 0x0400;
const CONTROL_ENABLE: u32 = 1 << 1;

/// The registers of queue 0; those of the next are 0x40 further.
const STRIDE: u64 = 0x40;
const RING_LOW: u64 = 0xe000;
const RING_HIGH: u64 = 0xe004;
const RING_LENGTH: u64 = 0xe008;
const HEAD: u64 = 0xe010;
const TAIL: u64 = 0xe018;
const QUEUE_CONTROL: u64 = 0xe028;
const QUEUE_ENABLE: u32 = 1 << 25;
const WRITE_BACK_LOW: u64 = 0xe038;
const WRITE_BACK_HIGH: u64 = 0xe03c;
/// In the low half of the write-back address: write the head, and not a status into the descriptor.
const WRITE_BACK_ENABLE: u32 = 1;

/// Descriptors of the ring, and so one more than the highest head. AMD's pairs have an index below that as their data,
/// Intel's have 0.
const DESCRIPTORS: u32 = 2048;
const DESCRIPTOR_LEN: u32 = 16;
/// Offset of a descriptor's command.
const COMMAND: u64 = 8;
/// An advanced context descriptor, which sends no packet, with a report of its status.
const CONTEXT_WITH_REPORT: u32 = 1 << 29 | 2 << 20 | 1 << 27;

/// One ring for all queues: its descriptors are all the same, and the device only reads them.
pub(super) fn ring() -> Option<Dma> {
    let ring = Dma::allocate(u64::from(DESCRIPTORS * DESCRIPTOR_LEN))?;
    for descriptor in 0..DESCRIPTORS {
        ring.write(u64::from(descriptor * DESCRIPTOR_LEN) + COMMAND, CONTEXT_WITH_REPORT);
    }
    Some(ring)
}

/// The message of one transmit queue.
#[derive(Debug)]
pub(crate) struct HeadWriteBack {
    queue: Queue,
    origin: Origin,
}

impl HeadWriteBack {
    /// Takes the queue, stopped.
    pub(super) fn claim(queue: Queue, ring: Dma, origin: Origin) -> Self {
        queue.set_up(ring);
        Self { queue, origin }
    }
}

impl StoreEntry for HeadWriteBack {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        let (low, high) = halves(pair.address);
        self.queue.write(WRITE_BACK_HIGH, high);
        self.queue.write(WRITE_BACK_LOW, low | WRITE_BACK_ENABLE);
        self.queue.arm(pair.data.wrapping_sub(1) % DESCRIPTORS);
    }

    fn read(&self) -> Pair {
        let low = self.queue.read(WRITE_BACK_LOW) & !WRITE_BACK_ENABLE;
        let address = u64::from(self.queue.read(WRITE_BACK_HIGH)) << 32 | u64::from(low);
        Pair { address, data: self.queue.next_head() }
    }

    fn set_mask(&self, _mask: Mask) {}

    fn mask(&self) -> Option<Mask> {
        None
    }

    fn is_pending(&self) -> Option<bool> {
        None
    }
}

impl Drop for HeadWriteBack {
    fn drop(&mut self) {
        self.queue.write(QUEUE_CONTROL, 0);
        self.queue.write(WRITE_BACK_LOW, 0);
    }
}

/// The registers of a transmit queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    registers: Registers,
    number: u16,
}

impl Queue {
    pub(super) fn new(registers: Registers, number: u16) -> Option<Self> {
        (number < QUEUES).then_some(Self { registers, number })
    }

    fn at(self, register: u64) -> u64 {
        register + STRIDE * u64::from(self.number)
    }

    fn read(self, register: u64) -> u32 {
        self.registers.read(self.at(register))
    }

    fn write(self, register: u64, value: u32) {
        self.registers.write(self.at(register), value);
    }

    fn set_up(self, ring: Dma) {
        self.write(QUEUE_CONTROL, 0);
        self.write(WRITE_BACK_LOW, 0);
        let (low, high) = halves(ring.address());
        self.write(RING_LOW, low);
        self.write(RING_HIGH, high);
        self.write(RING_LENGTH, DESCRIPTORS * DESCRIPTOR_LEN);
        self.arm(0);
        self.registers.write(CONTROL, self.registers.read(CONTROL) | CONTROL_ENABLE);
    }

    /// Empties the queue, its head here. The head may be written only while the queue is stopped.
    fn arm(self, head: u32) {
        self.write(QUEUE_CONTROL, 0);
        self.write(HEAD, head);
        self.write(TAIL, head);
        self.write(QUEUE_CONTROL, QUEUE_ENABLE);
    }

    /// What the head is after the next descriptor.
    fn next_head(self) -> u32 {
        (self.read(TAIL) + 1) % DESCRIPTORS
    }

    /// Gives the device one descriptor, waits until the head is written, and goes back.
    pub(super) fn send(self) {
        let armed = self.read(TAIL);
        let next = self.next_head();
        self.write(TAIL, next);
        if !wait_until(PATIENCE_MS, || self.read(HEAD) == next) {
            log::warn!("igb: transmit queue {} does not move", self.number);
        }
        self.arm(armed);
    }
}
