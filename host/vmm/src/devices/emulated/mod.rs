//! The emulated device, for machines without a device to pass through: it has an MSI-X table or an MSI capability, an IMS
//! array in the guest's RAM, DMA into that RAM, and registers by which the guest raises any interrupt at any rate.
//!
//! `docs/emulated-device.md` specifies it for whoever writes a driver. Its MSI-X table and its remapping unit are those of
//! the library ([`pvir_host::emulation`]).
//!
//! ```text
//! register, rate thread ──> DeviceModel::raise ──> sequence number into guest RAM
//!                                             └──> entry (masked? held) ──> SoftwareUnit ──> eventfd ──> KVM irqfd ──> vCPU
//! ```

mod counts;
mod device;
mod function;
mod held;
mod ims;
mod irtes;
mod model;
mod msi;
mod rate;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use function::function;

#[cfg(test)]
use device::EmulatedDevice;

/// PCI vendor id: `"PV"`. Not assigned by the PCI-SIG; the device exists inside of VMs only.
const VENDOR_ID: u16 = 0x5056;
/// PCI device id.
const DEVICE_ID: u16 = 0x0001;
