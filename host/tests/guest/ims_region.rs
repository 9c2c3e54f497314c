//! A place in guest RAM where a device keeps the messages of its IMS entries.
#![expect(unsafe_code, reason = "the guest's driver reaches the slots by pointers")]

use pvir_guest::abi::{DeviceId, Pair};
use pvir_guest::{ImsLayout, ImsMemory};
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Guest physical addresses of the slots of the first function, and distance to the next one's.
const SLOTS: u64 = 0x5_0000;
const DISTANCE: u64 = 0x1000;
/// Bytes of a slot: address, data and control, as in an MSI-X table.
const SLOT_LEN: u64 = 16;

/// The slots, as the guest's driver and as the device see them.
pub(crate) struct ImsRegion {
    memory: ImsMemory,
    slots: u64,
    ram: Arc<GuestMemoryMmap>,
}

impl ImsRegion {
    pub(crate) fn new(ram: Arc<GuestMemoryMmap>, device: DeviceId, slots: u32) -> Self {
        let len = usize::try_from(u64::from(slots) * SLOT_LEN).unwrap();
        assert!(len as u64 <= DISTANCE);
        let at = SLOTS + u64::from(device.bdf.device()) * DISTANCE;
        assert!(ram.check_range(GuestAddress(at), len));
        let base = NonNull::new(ram.get_host_address(GuestAddress(at)).unwrap()).unwrap();
        // SAFETY: guest RAM, page-aligned, mapped as long as the VM lives, which every test drops after its entries;
        // nothing else of the VM lies there.
        let memory = unsafe { ImsMemory::new(device, base.cast(), slots, ImsLayout::LIKE_MSIX) };
        Self { memory: memory.unwrap(), slots: at, ram }
    }

    /// For the guest's driver.
    pub(crate) fn memory(&self) -> &ImsMemory {
        &self.memory
    }

    /// The message that the device finds in a slot, unless it is masked.
    pub(crate) fn message(&self, slot: u32) -> Option<Pair> {
        let at = self.slots + u64::from(slot) * SLOT_LEN;
        let [low, high, data, control] =
            [0, 4, 8, 12].map(|offset| self.ram.read_obj::<u32>(GuestAddress(at + offset)).unwrap());
        let pair = Pair { address: u64::from(high) << 32 | u64::from(low), data };
        (control & 1 == 0).then_some(pair)
    }
}
