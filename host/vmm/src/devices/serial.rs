//! COM1: what the guest writes goes out, and stdin or a socket's client comes to it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial, SerialState};

use super::io_apic::IoApic;
use crate::output::console::GuestOutput;
use crate::output::console_socket::ConsoleInput;
use crate::vm::layout;

/// Bytes that wait for room in the guest's FIFO at most.
const MOST_WAITING: usize = 4096;

/// Registers of a 16550 (National Semiconductor, PC16550D, table II), and the bytes that its FIFO has.
const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const SCRATCH: u8 = 7;
const FIFO: usize = 64;
/// Line control: the first two registers are the divisor of the baud rate.
const DIVISOR_LATCH: u8 = 1 << 7;
/// Writes that give the registers the values with which vm-superio's UART starts: no interrupts, 9600 baud, 8 bits, and
/// OUT2.
const AFTER_RESET: [(u8, u8); 7] = [
    (LINE_CONTROL, DIVISOR_LATCH),
    (DATA, 12),
    (INTERRUPT_ENABLE, 0),
    (LINE_CONTROL, 3),
    (INTERRUPT_ENABLE, 0),
    (MODEM_CONTROL, 1 << 3),
    (SCRATCH, 0),
];

/// Its interrupt: an edge for each new reason, which a driver takes as long as the port has one.
struct SerialInterrupt(Arc<IoApic>);

impl Trigger for SerialInterrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.raise(layout::COM1_PIN);
        Ok(())
    }
}

/// The UART, and what comes to it faster than the guest takes it.
struct Port {
    uart: Serial<SerialInterrupt, NoEvents, GuestOutput>,
    waiting: VecDeque<u8>,
}

impl Port {
    /// Moves on what waits, as far as there is room.
    fn fill(&mut self) {
        let room = self.uart.fifo_capacity().min(self.waiting.len());
        if room == 0 {
            return;
        }
        let bytes: Vec<u8> = self.waiting.drain(..room).collect();
        if let Err(error) = self.uart.enqueue_raw_bytes(&bytes) {
            tracing::debug!("console input lost: {error}");
        }
    }
}

/// The port in a snapshot: the registers of the UART in the order of [`SerialState`], what is in its FIFO, and what waits.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedSerial {
    registers: [u8; 9],
    fifo: Vec<u8>,
    waiting: Vec<u8>,
}

/// The port, shared by all vCPUs and by the thread that brings it its input.
pub(crate) struct SerialPort {
    io_apic: Arc<IoApic>,
    out: GuestOutput,
    port: Mutex<Port>,
    room: Condvar,
    /// The eventfd of a thread that waits for room in another way.
    waker: OnceLock<OwnedFd>,
}

impl SerialPort {
    pub(crate) fn new(io_apic: Arc<IoApic>, out: GuestOutput) -> Self {
        let uart = Serial::new(SerialInterrupt(Arc::clone(&io_apic)), out.clone());
        let port = Mutex::new(Port { uart, waiting: VecDeque::new() });
        Self { io_apic, out, port, room: Condvar::new(), waker: OnceLock::new() }
    }

    /// Has `waker`, an eventfd, written to when nothing waits any more.
    pub(crate) fn wake(&self, waker: OwnedFd) {
        // A second one is not needed: there is one thread.
        let _ = self.waker.set(waker);
    }

    /// The guest reads a register.
    pub(crate) fn read(&self, register: u8) -> u8 {
        let mut port = self.lock();
        let value = port.uart.read(register);
        if register == 0 {
            let some_waited = !port.waiting.is_empty();
            port.fill();
            self.has_read(&port, some_waited);
        }
        value
    }

    /// There may be room in the FIFO. `some_waited` says whether something waited for it before.
    fn has_read(&self, port: &Port, some_waited: bool) {
        self.room.notify_one();
        if let Some(waker) = self.waker.get().filter(|_| some_waited && port.waiting.is_empty()) {
            // Full is as good as written.
            let _ = rustix::io::write(waker, &1_u64.to_ne_bytes());
        }
    }

    /// The guest writes a register.
    pub(crate) fn write(&self, register: u8, value: u8) {
        let written = self.lock().uart.write(register, value);
        if let Err(error) = written {
            // A reader that went away is no reason to stop the guest.
            tracing::debug!("console: {error}");
        }
    }

    /// Bytes for the guest. They wait until its FIFO has room; of a user who types on regardless, the last are lost.
    pub(crate) fn receive(&self, bytes: &[u8]) {
        let mut port = self.lock();
        let room = MOST_WAITING.saturating_sub(port.waiting.len());
        port.waiting.extend(bytes.iter().take(room));
        port.fill();
    }

    /// The port, for a snapshot. No vCPU runs.
    pub(crate) fn save(&self) -> SavedSerial {
        let port = self.lock();
        let state = port.uart.state();
        let registers = [
            state.baud_divisor_low,
            state.baud_divisor_high,
            state.interrupt_enable,
            state.interrupt_identification,
            state.line_control,
            state.line_status,
            state.modem_control,
            state.modem_status,
            state.scratch,
        ];
        SavedSerial { registers, fifo: state.in_buffer, waiting: port.waiting.iter().copied().collect() }
    }

    /// Sets the port to what [`save`](Self::save) has answered. It may raise its interrupt: the I/O APIC is restored after it.
    ///
    /// # Errors
    /// If no port can have held that.
    pub(crate) fn restore(&self, saved: &SavedSerial) -> Result<()> {
        if saved.waiting.len() > MOST_WAITING {
            bail!("more waits for its serial port than can");
        }
        let [
            divisor_low,
            divisor_high,
            enable,
            identification,
            line,
            line_status,
            modem,
            modem_status,
            scratch,
        ] = saved.registers;
        let state = SerialState {
            baud_divisor_low: divisor_low,
            baud_divisor_high: divisor_high,
            interrupt_enable: enable,
            interrupt_identification: identification,
            line_control: line,
            line_status,
            modem_control: modem,
            modem_status,
            scratch,
            in_buffer: saved.fifo.clone(),
        };
        let interrupt = SerialInterrupt(Arc::clone(&self.io_apic));
        let uart = Serial::from_state(&state, interrupt, NoEvents, self.out.clone());
        let uart =
            uart.map_err(|error| anyhow!("its serial port has a state that it cannot have: {error}"))?;
        *self.lock() = Port { uart, waiting: saved.waiting.iter().copied().collect() };
        Ok(())
    }

    /// The machine is reset: the registers have their first values, and what the guest had not read is lost, as by a UART's
    /// reset. What has been written has gone out.
    pub(crate) fn reset(&self) {
        let mut port = self.lock();
        let some_waited = !port.waiting.is_empty();
        port.waiting.clear();
        for (register, value) in AFTER_RESET {
            if let Err(error) = port.uart.write(register, value) {
                tracing::debug!("console: {error}");
            }
        }
        for _ in 0..FIFO {
            port.uart.read(DATA);
        }
        // Reading it ends the interrupt that says that there is room.
        port.uart.read(INTERRUPT_IDENTIFICATION);
        self.has_read(&port, some_waited);
    }

    /// Waits until the guest's FIFO has room, and says how much.
    pub(crate) fn wait_for_room(&self) -> usize {
        let full = |port: &mut Port| port.uart.fifo_capacity() == 0;
        let port = self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        port.uart.fifo_capacity()
    }

    fn lock(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsoleInput for SerialPort {
    fn has_room(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn receive(&self, bytes: &[u8]) {
        self.receive(bytes);
    }
}
