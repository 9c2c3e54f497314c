#![expect(
    unsafe_code,
    reason = "KVM is given host addresses, which it then reads and writes on behalf of the guest"
)]
//! KVM memory slots: RAM, and host memory that is mapped into the guest while it runs.
//!
//! A slot owns a reference to what it maps, so that memory cannot go away while the guest can reach it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, VmFd};
use pvir_host::counters::Counters;
use pvir_host::function::GuestAccess;
use pvir_host::mapping::HostMemory;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::memory::GuestRange;

/// The number of an installed memory slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SlotId(u32);

#[derive(Debug)]
struct MemorySlot {
    range: GuestRange,
    access: GuestAccess,
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
            let (start, size) = (region.start_addr().0, region.len());
            self.map(start, region.get_mmap(), 0, size, GuestAccess::ReadWrite)
                .with_context(|| format!("cannot map {size:#x} bytes of RAM into the guest at {start:#x}"))?;
        }
        Ok(())
    }

    /// Takes the regions of `ram` from the guest and gives them back. KVM forgets all that it has derived from what was
    /// in them: where it has no nested paging, its copies of the guest's page tables. It sees the guest's writes to these,
    /// but not this process's.
    pub(crate) fn renew_ram(&self, ram: &GuestMemoryMmap) -> Result<()> {
        for region in ram.iter() {
            let start = region.start_addr().0;
            self.unmap(start).with_context(|| format!("cannot take the RAM at {start:#x} from the guest"))?;
        }
        self.map_ram(ram)
    }

    /// Lets the guest reach `size` bytes of `memory`, from `offset` on, at the physical address `gpa`.
    pub(crate) fn map(
        &self,
        gpa: u64,
        memory: Arc<dyn HostMemory>,
        offset: u64,
        size: u64,
        access: GuestAccess,
    ) -> io::Result<()> {
        let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let range = GuestRange::new(gpa, size);
        let inside = offset.checked_add(size).is_some_and(|end| end <= memory.size());
        if !inside || size == 0 {
            return refused(format!(
                "a slot of {size:#x} bytes at {offset:#x} is not inside its host memory of {:#x} bytes",
                memory.size()
            ));
        }
        if [gpa, size, offset, memory.address()].iter().any(|value| value % PAGE != 0) {
            return refused(format!(
                "a slot at {gpa:#x} of {size:#x} bytes from host offset {offset:#x} is not aligned to pages"
            ));
        }
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = installed.values().find(|slot| slot.range.overlaps(&range)) {
            return refused(format!(
                "guest memory {gpa:#x}+{size:#x} overlaps what is mapped at {:#x}+{:#x}",
                other.range.start, other.range.size
            ));
        }
        let Some(id) = (0..self.limit).map(SlotId).find(|id| !installed.contains_key(id)) else {
            return Err(io::Error::other(format!("all {} memory slots of KVM are in use", self.limit)));
        };
        let slot = MemorySlot { range, access, memory };
        self.set(id, &slot, slot.memory.address() + offset, size)?;
        installed.insert(id, slot);
        Ok(())
    }

    /// Takes back the slot that is mapped at `gpa`: from now on accesses to its addresses exit.
    pub(crate) fn unmap(&self, gpa: u64) -> io::Result<()> {
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = installed.iter();
        let Some((&id, slot)) = slots.find(|(_, slot)| slot.range.start == gpa) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no memory slot is at {gpa:#x}")));
        };
        // The host memory is let go only after KVM has forgotten it.
        self.set(id, slot, 0, 0)?;
        installed.remove(&id);
        Ok(())
    }

    fn set(&self, id: SlotId, slot: &MemorySlot, host: u64, size: u64) -> io::Result<()> {
        self.counters.count_ioctl("KVM_SET_USER_MEMORY_REGION");
        let flags = if slot.access == GuestAccess::ReadOnly { KVM_MEM_READONLY } else { 0 };
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
        let set = unsafe { self.vm.set_user_memory_region(region) };
        set.map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

/// How many slots KVM offers.
pub(crate) fn limit(kvm: &kvm_ioctls::Kvm) -> u32 {
    u32::try_from(kvm.check_extension_int(Cap::NrMemslots)).unwrap_or(32).clamp(32, 32_000)
}
