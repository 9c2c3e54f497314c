#![expect(
    unsafe_code,
    reason = "KVM is given host addresses, which it then reads and writes on behalf of the guest"
)]
//! KVM memory slots: RAM, and host memory that is mapped into the guest while it runs.
//!
//! A slot owns a reference to what it maps, so that memory cannot go away while the guest can reach it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, VmFd};
use pvir_host::counters::Counters;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MmapRegion};

use super::memory::GuestRange;

/// Memory of this process which a guest can be given.
///
/// # Safety
///
/// From `address()` on, `size()` bytes are mapped and stay so, unmoved, as long as the value lives; and nothing in this
/// process holds Rust references into them that a guest's writes would break.
pub(crate) unsafe trait HostMemory: Send + Sync + fmt::Debug {
    /// The address of the memory in this process; aligned to 4 KiB.
    fn address(&self) -> u64;
    /// The length of the memory in bytes.
    fn size(&self) -> u64;
}

// SAFETY: an `MmapRegion` stays mapped until it is dropped, and gives access only by volatile copies and raw pointers.
unsafe impl HostMemory for MmapRegion {
    fn address(&self) -> u64 {
        self.as_ptr() as u64
    }

    fn size(&self) -> u64 {
        self.size() as u64
    }
}

/// Whether the guest may write to a slot directly; where not, its writes exit as MMIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotAccess {
    ReadWrite,
    ReadOnly,
}

/// The number of an installed memory slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(u32);

#[derive(Debug)]
struct MemorySlot {
    range: GuestRange,
    access: SlotAccess,
    memory: Arc<dyn HostMemory>,
}

/// The memory slots of a VM.
#[derive(Debug)]
pub(crate) struct MemorySlots {
    vm: Arc<VmFd>,
    counters: Arc<Counters>,
    limit: u32,
    installed: Mutex<BTreeMap<SlotId, MemorySlot>>,
}

const PAGE: u64 = 4096;

impl MemorySlots {
    /// No slots yet; `limit` is how many KVM has.
    pub(crate) fn new(vm: Arc<VmFd>, counters: Arc<Counters>, limit: u32) -> Self {
        Self { vm, counters, limit, installed: Mutex::new(BTreeMap::new()) }
    }

    /// Makes all regions of `ram` the guest's.
    pub(crate) fn map_ram(&self, ram: &GuestMemoryMmap) -> Result<()> {
        for region in ram.iter() {
            self.map(region.start_addr().0, region.get_mmap(), 0, region.len(), SlotAccess::ReadWrite)?;
        }
        Ok(())
    }

    /// Lets the guest reach `size` bytes of `memory`, from `offset` on, at the physical address `gpa`.
    pub(crate) fn map(
        &self,
        gpa: u64,
        memory: Arc<dyn HostMemory>,
        offset: u64,
        size: u64,
        access: SlotAccess,
    ) -> Result<SlotId> {
        let range = GuestRange::new(gpa, size);
        let inside = offset.checked_add(size).is_some_and(|end| end <= memory.size());
        if !inside || size == 0 {
            bail!(
                "a slot of {size:#x} bytes at {offset:#x} is not inside its host memory of {:#x} bytes",
                memory.size()
            );
        }
        if [gpa, size, offset, memory.address()].iter().any(|value| value % PAGE != 0) {
            bail!(
                "a slot at {gpa:#x} of {size:#x} bytes from host offset {offset:#x} is not aligned to pages"
            );
        }
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = installed.values().find(|slot| slot.range.overlaps(&range)) {
            bail!(
                "guest memory {gpa:#x}+{size:#x} overlaps what is mapped at {:#x}+{:#x}",
                other.range.start,
                other.range.size
            );
        }
        let free = (0..self.limit).map(SlotId).find(|id| !installed.contains_key(id));
        let id = free.ok_or_else(|| anyhow!("all {} memory slots of KVM are in use", self.limit))?;
        let slot = MemorySlot { range, access, memory };
        self.set(id, &slot, slot.memory.address() + offset, size).with_context(|| {
            format!("cannot map {size:#x} bytes of host memory into the guest at {gpa:#x}")
        })?;
        installed.insert(id, slot);
        Ok(id)
    }

    /// Takes a slot back: from now on accesses to its addresses exit.
    pub(crate) fn unmap(&self, id: SlotId) -> Result<()> {
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = installed.get(&id).ok_or_else(|| anyhow!("memory slot {} is not in use", id.0))?;
        // The host memory is let go only after KVM has forgotten it.
        self.set(id, slot, 0, 0)
            .with_context(|| format!("cannot unmap the guest's memory at {:#x}", slot.range.start))?;
        installed.remove(&id);
        Ok(())
    }

    fn set(&self, id: SlotId, slot: &MemorySlot, host: u64, size: u64) -> Result<(), kvm_ioctls::Error> {
        self.counters.count_ioctl("KVM_SET_USER_MEMORY_REGION");
        let flags = if slot.access == SlotAccess::ReadOnly { KVM_MEM_READONLY } else { 0 };
        let region = kvm_userspace_memory_region {
            slot: id.0,
            flags: if size == 0 { 0 } else { flags },
            guest_phys_addr: slot.range.start,
            memory_size: size,
            userspace_addr: host,
        };
        // SAFETY: the range was checked to lie inside `slot.memory`, which stays mapped while the slot is installed
        // (`HostMemory`'s contract; the slot holds a reference), and no other slot has these guest addresses. A size of
        // zero removes the slot.
        unsafe { self.vm.set_user_memory_region(region) }
    }
}

/// How many slots KVM offers.
pub(crate) fn limit(kvm: &kvm_ioctls::Kvm) -> u32 {
    u32::try_from(kvm.check_extension_int(Cap::NrMemslots)).unwrap_or(32).clamp(32, 32_000)
}
