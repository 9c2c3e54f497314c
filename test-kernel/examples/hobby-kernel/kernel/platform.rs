//! What `pvir-guest` wants of a kernel: configuration space, where RAM is, and how device memory is reached.

#![expect(unsafe_code, reason = "promises what a platform must promise")]

use super::machine::{self, config};
use core::ptr::NonNull;
use pvir_guest::abi::{Bdf, DeviceId};
use pvir_guest::pci_types::{ConfigRegionAccess, PciAddress};
use pvir_guest::x86_64::PhysAddr;
use pvir_guest::{BlockMemory, Platform, RequestBlock};

/// Device memory below 4 GiB, which `entry.s` has mapped uncached at its physical address.
const DEVICES: core::ops::Range<u64> = 0xc000_0000..0xfec0_0000;

/// This kernel: a value that costs nothing to clone.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    start_info: u64,
}

/// Configuration space by the ports 0xcf8 and 0xcfc, of segment 0. Interrupts are off: nothing comes between.
pub(super) struct Ports;

impl ConfigRegionAccess for Ports {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        config(selector(address, offset), None)
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        config(selector(address, offset), Some(value));
    }
}

// SAFETY: the ports take any offset of any function, and an absent one reads as ones. RAM is what the VMM's memory map
// says. What is mapped is device memory, mapped uncached from the start and for ever.
unsafe impl Platform for Kernel {
    type Config = Ports;

    fn config(&self) -> &Ports {
        &Ports
    }

    fn is_ram(&self, address: PhysAddr, len: usize) -> bool {
        let (start, end) = (address.as_u64(), address.as_u64().saturating_add(len as u64));
        machine::ram(self.start_info).any(|ram| start < ram.end && ram.start < end)
    }

    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>> {
        let end = address.as_u64().checked_add(len as u64)?;
        let inside = DEVICES.contains(&address.as_u64()) && end <= DEVICES.end;
        NonNull::new(address.as_u64() as *mut u32).filter(|_| inside && !self.is_ram(address, len))
    }

    unsafe fn unmap_mmio(&self, _pointer: NonNull<u32>, _len: usize) {}
}

impl Kernel {
    pub(super) const fn new(start_info: u64) -> Self {
        Self { start_info }
    }

    /// Memory decoding and Bus Master on. The VMM has placed the BARs, and left decoding off.
    pub(super) fn switch_on(self, device: DeviceId) {
        let command = config(selector(address(device), 4), None) & 0xffff;
        config(selector(address(device), 4), Some(command | 0b110));
    }

    /// Where the registers are: BAR 0, in 32 bits.
    pub(super) fn bar0(self, device: DeviceId) -> u64 {
        u64::from(config(selector(address(device), 0x10), None) & !0xf)
    }
}

/// The first device with these ids on bus 0.
pub(super) fn find(vendor: u16, device: u16) -> Option<DeviceId> {
    let ids = u32::from(device) << 16 | u32::from(vendor);
    let on_bus_0 = (0..32).filter_map(|number| Bdf::new(0, number, 0)).map(|bdf| DeviceId::new(0, bdf));
    on_bus_0.into_iter().find(|id| config(selector(address(*id), 0), None) == ids)
}

/// A request block of this kernel, which lies where it was linked.
pub(super) fn physical<const N: usize>(block: &'static RequestBlock<N>) -> Option<BlockMemory> {
    let address = PhysAddr::new(core::ptr::from_ref(block) as u64);
    // SAFETY: called once for the one block; everything is mapped at its physical address, and the image is contiguous.
    unsafe { block.memory(address) }
}

fn address(id: DeviceId) -> PciAddress {
    PciAddress::new(id.segment, id.bdf.bus(), id.bdf.device(), id.bdf.function())
}

/// What port 0xcf8 takes: enable, bus, device, function, register.
fn selector(address: PciAddress, offset: u16) -> u32 {
    let (bus, device, function) = (address.bus(), address.device(), address.function());
    let number = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
    1 << 31 | number | u32::from(offset & 0xfc)
}
