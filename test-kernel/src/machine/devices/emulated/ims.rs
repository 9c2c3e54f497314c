//! Messages in this kernel's RAM: the ready-made store of the driver's crate, and the doorbell that the device wants when
//! one is unmasked.

#![expect(unsafe_code, reason = "lends pages of RAM to the device's message store")]

use super::IMS_DOORBELL;
use crate::machine::memory::dma::Dma;
use crate::machine::memory::registers::Registers;
use core::ptr::NonNull;
use pvir_guest::abi::{DeviceId, Pair};
use pvir_guest::{ImsLayout, ImsMemory, ImsSlot, Mask, Origin, StoreEntry};
use spin::Once;

/// Devices that can have an array.
const DEVICES: usize = 4;
/// Bytes of a slot.
const SLOT: u64 = 16;

static ARRAYS: [Once<Array>; DEVICES] = [const { Once::new() }; DEVICES];

/// The slots of one device.
pub(super) struct Array {
    device: DeviceId,
    /// Where the device finds them.
    pub(super) address: u64,
    slots: ImsMemory,
}

impl Array {
    fn new(device: DeviceId, slots: u32) -> Option<Self> {
        let pages = Dma::allocate(u64::from(slots) * SLOT)?;
        let base = NonNull::new(pages.address() as *mut u32)?;
        // SAFETY: whole pages of RAM, large enough for the slots, never given back, and nobody else's.
        let slots = unsafe { ImsMemory::new(device, base, slots, ImsLayout::LIKE_MSIX) }?;
        Some(Self { device, address: pages.address(), slots })
    }

    /// That of a device, made when it is first asked for.
    pub(super) fn of(device: DeviceId, slots: u32) -> Option<&'static Self> {
        for place in &ARRAYS {
            let array = place.try_call_once(|| Self::new(device, slots).ok_or(())).ok()?;
            if array.device == device {
                return Some(array);
            }
        }
        None
    }

    /// Takes possession of a slot.
    pub(super) fn claim(&self, slot: u32, origin: Origin, registers: Registers) -> Option<Doorbell> {
        Some(Doorbell { slot: self.slots.claim(slot, origin.index)?.release(), registers })
    }
}

/// A slot whose device is told when it is unmasked.
#[derive(Debug)]
pub(crate) struct Doorbell {
    slot: ImsSlot,
    registers: Registers,
}

impl StoreEntry for Doorbell {
    fn origin(&self) -> Origin {
        self.slot.origin()
    }

    fn write(&mut self, pair: Pair) {
        self.slot.write(pair);
    }

    fn read(&self) -> Pair {
        self.slot.read()
    }

    fn set_mask(&self, mask: Mask) {
        self.slot.set_mask(mask);
        if mask == Mask::Clear {
            self.registers.write(IMS_DOORBELL, self.slot.slot());
        }
    }

    fn mask(&self) -> Option<Mask> {
        self.slot.mask()
    }

    fn is_pending(&self) -> Option<bool> {
        self.slot.is_pending()
    }
}
