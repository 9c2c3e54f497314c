//! COM1, a 16550, by polling.

#![expect(unsafe_code, reason = "port input and output")]

use x86_64::instructions::port::Port;

const DATA: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = DATA + 1;
const FIFO_CONTROL: u16 = DATA + 2;
const LINE_CONTROL: u16 = DATA + 3;
const MODEM_CONTROL: u16 = DATA + 4;
const LINE_STATUS: u16 = DATA + 5;

const DATA_READY: u8 = 1;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Bytes that the transmitter takes once it is empty.
const FIFO: u32 = 16;
/// A port that never gets empty is none; its output is dropped.
const PATIENCE: u32 = 1_000_000;

/// COM1.
#[derive(Debug)]
pub(super) struct Serial {
    /// Bytes that fit without another look at the status: each look is an exit from the VM.
    room: u32,
}

impl Serial {
    pub(super) const fn new() -> Self {
        Self { room: 0 }
    }

    /// 8 bits, no parity, FIFO on, no interrupts. The rate is as the VMM left it.
    pub(super) fn init(&mut self) {
        write(INTERRUPT_ENABLE, 0);
        write(LINE_CONTROL, 3);
        write(FIFO_CONTROL, 1);
        write(MODEM_CONTROL, 3);
        self.room = 0;
    }

    /// Waits until the transmitter is empty.
    pub(super) fn flush(&mut self) {
        for _ in 0..PATIENCE {
            if read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        self.room = FIFO;
    }

    /// A received byte, if there is one.
    pub(super) fn receive(&mut self) -> Option<u8> {
        (read(LINE_STATUS) & DATA_READY != 0).then(|| read(DATA))
    }

    /// Sends a byte.
    pub(super) fn send(&mut self, byte: u8) {
        if self.room == 0 {
            self.flush();
        }
        write(DATA, byte);
        self.room -= 1;
    }
}

fn read(port: u16) -> u8 {
    // SAFETY: a register of COM1; reading has no effect on memory.
    unsafe { Port::new(port).read() }
}

fn write(port: u16, value: u8) {
    // SAFETY: a register of COM1, which does no DMA.
    unsafe { Port::new(port).write(value) };
}
