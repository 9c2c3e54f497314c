#![doc = include_str!("../README.md")]
// Nothing at run time fails, panics or waits because a standard stream is full, closed or not read.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod counts;
mod device;
mod error;
mod events;
mod function;
mod held;
mod ims;
mod irtes;
mod model;
mod msi;
mod rate;
mod registers;
mod saved;
mod state;
#[cfg(test)]
mod tests;

pub use error::TestDeviceError;
pub use function::{function, function_with_events};

#[cfg(test)]
use device::EmulatedDevice;

/// PCI vendor id: `"PV"`. Not assigned by the PCI-SIG; the device exists inside of VMs only.
pub const VENDOR_ID: u16 = 0x5056;
/// PCI device id.
pub const DEVICE_ID: u16 = 0x0001;
