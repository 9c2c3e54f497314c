//! COM1: what the guest writes goes to stdout, and stdin comes to it.

use std::convert::Infallible;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};

use super::io_apic::IoApic;
use crate::output::console::GuestOutput;
use crate::vm::layout;

/// Its interrupt: an edge for each new reason, which a driver takes as long as the port has one.
struct SerialInterrupt(Arc<IoApic>);

impl Trigger for SerialInterrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.raise(layout::COM1_PIN);
        Ok(())
    }
}

/// The port, shared by all vCPUs and by the thread that reads stdin.
pub(crate) struct SerialPort {
    port: Mutex<Serial<SerialInterrupt, NoEvents, GuestOutput>>,
    room: Condvar,
}

impl SerialPort {
    pub(crate) fn new(io_apic: Arc<IoApic>, out: GuestOutput) -> Self {
        Self { port: Mutex::new(Serial::new(SerialInterrupt(io_apic), out)), room: Condvar::new() }
    }

    /// The guest reads a register.
    pub(crate) fn read(&self, register: u8) -> u8 {
        let value = self.port.lock().unwrap_or_else(PoisonError::into_inner).read(register);
        if register == 0 {
            self.room.notify_one();
        }
        value
    }

    /// The guest writes a register.
    pub(crate) fn write(&self, register: u8, value: u8) {
        let written = self.port.lock().unwrap_or_else(PoisonError::into_inner).write(register, value);
        if let Err(error) = written {
            // A reader that went away is no reason to stop the guest.
            tracing::debug!("console: {error}");
        }
    }

    /// Brings stdin to the guest, on a thread that lives as long as the process. Nothing is read ahead of what the
    /// guest's FIFO can take.
    pub(crate) fn read_stdin(self: Arc<Self>) -> io::Result<()> {
        let feed = move || {
            let mut stdin = io::stdin().lock();
            let mut buffer = [0; 64];
            loop {
                let room = self.wait_for_room().min(buffer.len());
                match stdin.read(&mut buffer[..room]) {
                    Ok(0) | Err(_) => return,
                    Ok(size) => {
                        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Err(error) = port.enqueue_raw_bytes(&buffer[..size]) {
                            tracing::debug!("console input lost: {error}");
                        }
                    }
                }
            }
        };
        thread::Builder::new().name("stdin".to_owned()).spawn(feed).map(drop)
    }

    fn wait_for_room(&self) -> usize {
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |port: &mut Serial<_, _, _>| port.fifo_capacity() == 0;
        self.room.wait_while(port, full).unwrap_or_else(PoisonError::into_inner).fifo_capacity()
    }
}
