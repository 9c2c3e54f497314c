//! Where text goes: pvir's console of lines where there is one, COM1 otherwise.

use super::lines;
use super::serial::Serial;
use crate::machine::cpu::usermode;
use core::fmt;

/// The way out. Whoever has it may hold back text until [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct Output {
    serial: Serial,
    in_lines: bool,
}

impl Output {
    /// COM1, for the start, and for last words while another processor may be in the middle of a line.
    pub(super) const fn serial() -> Self {
        Self { serial: Serial::new(), in_lines: false }
    }

    /// Prepares COM1, and takes the console of lines if there is one.
    pub(super) fn init(&mut self) {
        self.serial.init();
        lines::init();
        self.in_lines = lines::are_there();
    }

    /// The end of what is written at once: it goes out.
    pub(super) fn end(&mut self) {
        if self.in_lines {
            lines::put_out();
        }
    }

    /// Waits until everything is out.
    pub(super) fn flush(&mut self) {
        // What has gone out in lines is out.
        if !self.in_lines {
            self.serial.flush();
        }
    }

    /// A byte that was received on COM1, if there is one.
    pub(super) fn receive(&mut self) -> Option<u8> {
        self.serial.receive()
    }

    fn send(&mut self, byte: u8) {
        if self.in_lines {
            lines::push(byte);
        } else {
            self.serial.send(byte);
        }
    }

    fn send_all(&mut self, text: &str) {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.in_lines {
            self.send_all(text);
            return Ok(());
        }
        // Text is formatted in ring 3 where that is better, and ports are ring 0's.
        usermode::in_ring0(|| self.send_all(text)).ok_or(fmt::Error)
    }
}
