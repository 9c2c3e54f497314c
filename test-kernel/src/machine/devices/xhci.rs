//! USB host controllers (xHCI specification 1.2, section 5.5 "Host Controller Runtime Registers"), as far as their
//! interrupts go: up to sixteen messages by MSI, one for each interrupter.
//!
//! The controller never runs and has no devices. An interrupter raises its message again when software says that it has
//! handled events up to a place that is not where the controller will write the next one (4.17.2 "Interrupt
//! Moderation", "Event Handler Busy"), so a dequeue pointer one too far is all that it takes, and no event is needed.

use super::Trigger;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::memory::dma::Dma;
use crate::machine::memory::registers::{Registers, halves};

/// Capability registers: their length in the low byte, HCSPARAMS1 with the number of interrupters in bits 18:8, and
/// where the runtime registers are.
const LENGTH: u64 = 0x00;
const PARAMETERS: u64 = 0x04;
const RUNTIME: u64 = 0x18;

/// Operational registers, behind those: USBCMD and USBSTS.
const COMMAND: u64 = 0x00;
const COMMAND_RESET: u32 = 1 << 1;
const COMMAND_INTERRUPTS: u32 = 1 << 2;
const STATUS: u64 = 0x04;
const STATUS_NOT_READY: u32 = 1 << 11;

/// The registers of interrupter 0 in the runtime registers; those of the next are 0x20 further.
const FIRST: u64 = 0x20;
const STRIDE: u64 = 0x20;
const MANAGEMENT: u64 = 0x00;
const MANAGEMENT_ENABLE: u32 = 1 << 1;
const MODERATION: u64 = 0x04;
const TABLE_SIZE: u64 = 0x08;
const TABLE_LOW: u64 = 0x10;
const TABLE_HIGH: u64 = 0x14;
const DEQUEUE_LOW: u64 = 0x18;
const DEQUEUE_HIGH: u64 = 0x1c;
/// Event Handler Busy, cleared by writing it.
const BUSY: u32 = 1 << 3;

/// The event ring: 16 events of 16 bytes, the fewest there may be. All interrupters have the same, since none is used.
const EVENTS: u32 = 16;
const EVENT_LEN: u64 = 16;
/// The table that tells of it, behind it.
const TABLE: u64 = 0x800;

/// An xHCI controller with its registers mapped.
#[derive(Debug)]
pub(crate) struct Xhci {
    registers: Registers,
    ring: Option<Dma>,
}

impl Xhci {
    pub(super) const fn new(registers: Registers) -> Self {
        Self { registers, ring: None }
    }

    fn operational(&self, register: u64) -> u64 {
        u64::from(self.registers.read(LENGTH) & 0xff) + register
    }

    fn interrupter(&self, number: u16, register: u64) -> u64 {
        u64::from(self.registers.read(RUNTIME) & !0x1f) + FIRST + STRIDE * u64::from(number) + register
    }

    fn reset(&self) {
        let (command, status) = (self.operational(COMMAND), self.operational(STATUS));
        self.registers.write(command, COMMAND_RESET);
        let ready = wait_until(PATIENCE_MS, || {
            self.registers.read(command) & COMMAND_RESET == 0
                && self.registers.read(status) & STATUS_NOT_READY == 0
        });
        if !ready {
            log::warn!("xhci: does not come out of its reset");
        }
    }

    fn start(&self, number: u16, ring: Dma) {
        let write = |register, value| self.registers.write(self.interrupter(number, register), value);
        let (events, table) = (halves(ring.address()), halves(ring.address() + TABLE));
        write(MODERATION, 0);
        write(TABLE_SIZE, 1);
        write(DEQUEUE_HIGH, events.1);
        write(DEQUEUE_LOW, events.0);
        write(TABLE_LOW, table.0);
        // The high half last: it makes the controller read the table.
        write(TABLE_HIGH, table.1);
        write(MANAGEMENT, MANAGEMENT_ENABLE);
    }
}

impl Trigger for Xhci {
    fn vectors(&self) -> u16 {
        u16::try_from((self.registers.read(PARAMETERS) >> 8) & 0x7ff).unwrap_or(0)
    }

    fn init(&mut self) {
        self.reset();
        let Some(ring) = self.ring.or_else(|| Dma::allocate(TABLE + EVENT_LEN)) else {
            return log::warn!("xhci: no memory for an event ring");
        };
        self.ring = Some(ring);
        let (low, high) = halves(ring.address());
        ring.write(TABLE, low);
        ring.write(TABLE + 4, high);
        ring.write(TABLE + 8, EVENTS);
        for number in 0..self.vectors() {
            self.start(number, ring);
        }
        self.registers.write(self.operational(COMMAND), COMMAND_INTERRUPTS);
    }

    fn raise(&mut self, vector: u16) {
        let Some(ring) = self.ring else { return };
        let (beyond, _) = halves(ring.address() + EVENT_LEN);
        self.registers.write(self.interrupter(vector, DEQUEUE_LOW), beyond | BUSY);
    }

    /// Raising it again clears what is to be cleared.
    fn acknowledge(&mut self, _vector: u16) {}
}
