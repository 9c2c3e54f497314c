//! Devices that come and go while the guest runs (`docs/plugging.md`).
//!
//! A client of the control socket leaves a wish at a [desk](PlugDesk); the main thread, which alone may open and close what
//! is the host's, carries it out ([`Plugger`]). The guest is told by registers and ACPI
//! ([`HotplugPorts`](crate::pci::hotplug::HotplugPorts)). It lets a device go by a register too: the vCPU that writes it
//! takes the device out of the guest's reach ([`Ejector`]), and the main thread gives it back.

mod command;
mod desk;
mod ejector;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod plugger;
mod request;

pub(crate) use command::{PLUG_HELP, PlugArgs, UNPLUG_HELP, UnplugArgs, run_plug, run_unplug};
pub(crate) use desk::PlugDesk;
pub(crate) use ejector::Ejector;
pub(crate) use plugger::Plugger;
pub(crate) use request::{Plugging, answer};
