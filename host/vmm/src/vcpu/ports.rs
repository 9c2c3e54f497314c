//! The ports of the machine that are not a conduit: console, PCI, exit and reset.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::ending::Ending;
use super::exit_counters::{AccessKind, ExitCause, VcpuExits};
use super::outcome::Outcome;
use crate::devices::line_console::{self, LineConsole};
use crate::devices::serial::{SavedSerial, SerialPort};
use crate::pci::bus::PciBus;
use crate::pci::hotplug::{HotplugPorts, HotplugState};
use crate::pci::ports::ConfigPorts;
use crate::vm::layout;

/// Ports of COM1.
const SERIAL: std::ops::RangeInclusive<u16> = layout::COM1..=layout::COM1 + 7;
/// Pulse the reset line: what guests write to the keyboard controller.
const KEYBOARD_RESET: u8 = 0xfe;
/// Bit of the reset register that resets.
const RESET_CPU: u8 = 4;

/// The last port of the hotplug registers.
const HOTPLUG_END: u16 = layout::HOTPLUG_EJECT + 3;

/// Fields of ACPI's sleep control register ("ACPI Specification 6.5", section 4.8.3.7.1).
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;

/// What answers at the ports, in a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedPorts {
    serial: SavedSerial,
    /// Guest physical address of the page of the paravirtual console.
    console_page: Option<u64>,
    /// The address at port 0xcf8.
    config_address: u32,
    hotplug: HotplugState,
}

/// What answers at the ports.
pub(crate) struct Ports {
    serial: Arc<SerialPort>,
    console: LineConsole,
    pci: Arc<PciBus>,
    config: ConfigPorts,
    hotplug: Arc<HotplugPorts>,
    ending: Arc<Ending>,
}

impl Ports {
    pub(crate) fn new(
        serial: Arc<SerialPort>,
        console: LineConsole,
        pci: Arc<PciBus>,
        hotplug: Arc<HotplugPorts>,
        ending: Arc<Ending>,
    ) -> Self {
        Self { serial, console, config: ConfigPorts::new(Arc::clone(&pci)), pci, hotplug, ending }
    }

    /// Everything that answers at ports, but the functions of the bus, is as at power-on.
    pub(crate) fn reset(&self) {
        let Self { serial, console, pci: _, config, hotplug, ending: _ } = self;
        serial.reset();
        console.reset();
        config.reset();
        hotplug.reset();
    }

    /// What answers at ports, but for the functions of the bus, for a snapshot.
    pub(crate) fn save(&self) -> SavedPorts {
        let Self { serial, console, pci: _, config, hotplug, ending: _ } = self;
        SavedPorts {
            serial: serial.save(),
            console_page: console.page(),
            config_address: config.address(),
            hotplug: hotplug.save(),
        }
    }

    /// Sets it to what [`save`](Self::save) has answered.
    ///
    /// # Errors
    /// What cannot have been so.
    pub(crate) fn restore(&self, saved: &SavedPorts) -> Result<()> {
        self.serial.restore(&saved.serial)?;
        if !self.console.restore(saved.console_page) {
            bail!("the page of its console is not in RAM");
        }
        self.config.set_address(saved.config_address);
        self.hotplug.restore(saved.hotplug);
        Ok(())
    }

    /// The paravirtual console.
    pub(super) fn console(&self) -> &LineConsole {
        &self.console
    }

    /// IN of 1, 2 or 4 bytes. What nothing answers reads as ones.
    pub(crate) fn read(&self, port: u16, data: &mut [u8], exits: &VcpuExits) -> ExitCause {
        data.fill(0xff);
        match port {
            _ if SERIAL.contains(&port) => {
                if let [byte] = data {
                    *byte = self.serial.read(offset_in_serial(port));
                }
                ExitCause::PortSerial
            }
            layout::CONSOLE_PAGE_PORT | layout::CONSOLE_LENGTH_PORT => {
                let page = port == layout::CONSOLE_PAGE_PORT;
                let value = if page { line_console::SIGNATURE } else { self.console.room() };
                if data.len() == 4 {
                    data.copy_from_slice(&value.to_le_bytes());
                }
                ExitCause::PortConsole
            }
            layout::PCI_ADDRESS..=0xcff => {
                if let Some(function) = self.config.read(port, data) {
                    exits.count_config(function, AccessKind::Read);
                }
                ExitCause::PortPciConfig
            }
            layout::HOTPLUG_UP..=HOTPLUG_END => {
                self.hotplug.read(port, data);
                ExitCause::PortHotplug
            }
            // Its buffers are empty: a guest that looks for a keyboard does not wait for one.
            layout::KEYBOARD_PORT => {
                data.fill(0);
                ExitCause::PortOther
            }
            _ => match self.pci.port_read(port, data) {
                Some((function, bar)) => {
                    exits.count_bar(function, bar, AccessKind::Read);
                    ExitCause::PortBar
                }
                None => {
                    tracing::trace!(port = format_args!("{port:#x}"), "IN from a port where nothing is");
                    ExitCause::PortOther
                }
            },
        }
    }

    /// OUT of 1, 2 or 4 bytes. What goes where nothing is has no effect. The page of the paravirtual console is not set
    /// here: that takes the privilege of the code that sets it.
    pub(crate) fn write(&self, port: u16, data: &[u8], exits: &VcpuExits) -> ExitCause {
        match port {
            layout::EXIT_PORT => {
                let mut value = [0; 4];
                value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                self.ending.finish(Outcome::GuestExit { value: u32::from_le_bytes(value) });
                ExitCause::PortExit
            }
            _ if SERIAL.contains(&port) => {
                if let [byte] = data {
                    self.serial.write(offset_in_serial(port), *byte);
                }
                ExitCause::PortSerial
            }
            layout::CONSOLE_PAGE_PORT | layout::CONSOLE_LENGTH_PORT => {
                if let (layout::CONSOLE_LENGTH_PORT, Ok(length)) = (port, <[u8; 4]>::try_from(data)) {
                    self.console.put_out(u32::from_le_bytes(length));
                }
                ExitCause::PortConsole
            }
            layout::RESET_PORT if data.len() == 1 => {
                if data.first().is_some_and(|value| value & RESET_CPU != 0) {
                    self.ending.finish(Outcome::GuestReset { by: "port 0xcf9" });
                }
                ExitCause::PortReset
            }
            layout::SLEEP_CONTROL => {
                if data == [SLEEP_ENABLE | layout::SLEEP_TYPE_OFF << SLEEP_TYPE_SHIFT] {
                    self.ending.finish(Outcome::GuestPowerOff);
                }
                ExitCause::PortPowerOff
            }
            layout::HOTPLUG_UP..=HOTPLUG_END => {
                self.hotplug.write(port, data);
                ExitCause::PortHotplug
            }
            layout::KEYBOARD_PORT if data == [KEYBOARD_RESET] => {
                self.ending.finish(Outcome::GuestReset { by: "keyboard controller" });
                ExitCause::PortReset
            }
            layout::PCI_ADDRESS..=0xcff => {
                if let Some(function) = self.config.write(port, data) {
                    exits.count_config(function, AccessKind::Write);
                }
                ExitCause::PortPciConfig
            }
            _ => match self.pci.port_write(port, data) {
                Some((function, bar)) => {
                    exits.count_bar(function, bar, AccessKind::Write);
                    ExitCause::PortBar
                }
                None => {
                    tracing::trace!(
                        port = format_args!("{port:#x}"),
                        ?data,
                        "OUT to a port where nothing is"
                    );
                    ExitCause::PortOther
                }
            },
        }
    }
}

fn offset_in_serial(port: u16) -> u8 {
    u8::try_from(port - layout::COM1).unwrap_or(0)
}
