//! The ports of the machine that are not a conduit: console, PCI, exit and reset.

use std::sync::Arc;

use super::ending::Ending;
use super::exit_counters::{Access, Cause, Row};
use super::outcome::Outcome;
use crate::devices::serial::Console;
use crate::pci::bus::PciBus;
use crate::pci::ports::ConfigPorts;
use crate::vm::layout;

/// Ports of COM1.
const SERIAL: std::ops::RangeInclusive<u16> = layout::COM1..=layout::COM1 + 7;
/// Pulse the reset line: what guests write to the keyboard controller.
const KEYBOARD_RESET: u8 = 0xfe;
/// Bit of the reset register that resets.
const RESET_CPU: u8 = 4;

/// Fields of ACPI's sleep control register ("ACPI Specification 6.5", section 4.8.3.7.1).
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;

/// What answers at the ports.
pub(crate) struct Ports {
    console: Arc<Console>,
    pci: Arc<PciBus>,
    config: ConfigPorts,
    ending: Arc<Ending>,
}

impl Ports {
    pub(crate) fn new(console: Arc<Console>, pci: Arc<PciBus>, ending: Arc<Ending>) -> Self {
        Self { console, config: ConfigPorts::new(Arc::clone(&pci)), pci, ending }
    }

    /// IN of 1, 2 or 4 bytes. What nothing answers reads as ones.
    pub(crate) fn read(&self, port: u16, data: &mut [u8], row: &Row) -> Cause {
        data.fill(0xff);
        match port {
            _ if SERIAL.contains(&port) => {
                if let [byte] = data {
                    *byte = self.console.read(offset_in_serial(port));
                }
                Cause::PortSerial
            }
            layout::PCI_ADDRESS..=0xcff => {
                if let Some(function) = self.config.read(port, data) {
                    row.count_config(function, Access::Read);
                }
                Cause::PortPciConfig
            }
            // Its buffers are empty: a guest that looks for a keyboard does not wait for one.
            layout::KEYBOARD_PORT => {
                data.fill(0);
                Cause::PortOther
            }
            _ => match self.pci.port_read(port, data) {
                Some((function, bar)) => {
                    row.count_bar(function, bar, Access::Read);
                    Cause::PortBar
                }
                None => {
                    tracing::trace!(port = format_args!("{port:#x}"), "IN from a port where nothing is");
                    Cause::PortOther
                }
            },
        }
    }

    /// OUT likewise.
    pub(crate) fn write(&self, port: u16, data: &[u8], row: &Row) -> Cause {
        match port {
            layout::EXIT_PORT => {
                let mut value = [0; 4];
                value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                self.ending.finish(Outcome::GuestExit { value: u32::from_le_bytes(value) });
                Cause::PortExit
            }
            _ if SERIAL.contains(&port) => {
                if let [byte] = data {
                    self.console.write(offset_in_serial(port), *byte);
                }
                Cause::PortSerial
            }
            layout::RESET_PORT if data.len() == 1 => {
                if data.first().is_some_and(|value| value & RESET_CPU != 0) {
                    self.ending.finish(Outcome::GuestReset { by: "port 0xcf9" });
                }
                Cause::PortReset
            }
            layout::SLEEP_CONTROL => {
                if data == [SLEEP_ENABLE | layout::SLEEP_TYPE_OFF << SLEEP_TYPE_SHIFT] {
                    self.ending.finish(Outcome::GuestPowerOff);
                }
                Cause::PortPowerOff
            }
            layout::KEYBOARD_PORT if data == [KEYBOARD_RESET] => {
                self.ending.finish(Outcome::GuestReset { by: "keyboard controller" });
                Cause::PortReset
            }
            layout::PCI_ADDRESS..=0xcff => {
                if let Some(function) = self.config.write(port, data) {
                    row.count_config(function, Access::Write);
                }
                Cause::PortPciConfig
            }
            _ => match self.pci.port_write(port, data) {
                Some((function, bar)) => {
                    row.count_bar(function, bar, Access::Write);
                    Cause::PortBar
                }
                None => {
                    tracing::trace!(
                        port = format_args!("{port:#x}"),
                        ?data,
                        "OUT to a port where nothing is"
                    );
                    Cause::PortOther
                }
            },
        }
    }
}

fn offset_in_serial(port: u16) -> u8 {
    u8::try_from(port - layout::COM1).unwrap_or(0)
}
