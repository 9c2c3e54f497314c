//! The event area, in which the host announces events: the guest reads it without an exit.
#![expect(unsafe_code, reason = "the host writes this memory behind the compiler's back")]

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;
use pvir_abi::{DeviceId, EVENT_AREA_ALIGN, EventArea, EventReason, GuestPhysAddr};
use volatile::VolatilePtr;
use volatile::access::ReadOnly;
use x86_64::PhysAddr;

/// How often the latest event is read while the host writes it.
const TRIES: usize = 16;

const _: () = assert!(offset_of!(EventArea, epoch) == 0);
const _: () = assert!(offset_of!(EventArea, sequence) == 8);
const _: () = assert!(offset_of!(EventArea, reason) == 16 && offset_of!(EventArea, device) == 20);

/// Memory of an event area, for a kernel to put into a `static`.
#[repr(C, align(64))]
pub struct StaticEventArea {
    words: UnsafeCell<[u64; 8]>,
}

// SAFETY: no method reads or writes the cell; it is reached only by the volatile reads of `Events` and by the host.
unsafe impl Sync for StaticEventArea {}

impl StaticEventArea {
    /// An area of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: UnsafeCell::new([0; 8]) }
    }

    /// The area's memory, for [`EnableOptions::with_events`](crate::EnableOptions::with_events). `None` if `address`
    /// is not aligned to 64.
    ///
    /// # Safety
    ///
    /// The clause of [`EventMemory::new`] about validity holds for a static. The caller promises the others: the area
    /// lies at the guest physical `address`, and this is called once.
    #[must_use]
    pub unsafe fn memory(&'static self, address: PhysAddr) -> Option<EventMemory> {
        // SAFETY: a static is valid for ever, and its cell may be written. The caller promises the rest.
        unsafe { EventMemory::new(NonNull::from(self).cast(), address) }
    }
}

impl Default for StaticEventArea {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory for an event area, and the guest physical address by which the host finds it.
#[derive(Debug)]
pub struct EventMemory {
    words: NonNull<u64>,
    address: GuestPhysAddr,
}

// SAFETY: it is only ever read, with volatile reads that any thread may do.
unsafe impl Send for EventMemory {}
// SAFETY: as above.
unsafe impl Sync for EventMemory {}

impl EventMemory {
    /// 64 bytes at `pointer`, which the host finds at `address`. `None` if either is not aligned to 64.
    ///
    /// # Safety
    ///
    /// `pointer` must be valid for volatile reads of 64 bytes from now on for ever, and the kernel must neither write
    /// there nor use it for anything else: the host writes it from ENABLE to DISABLE. The same bytes must lie at the
    /// guest physical `address`, in RAM; in a confidential VM in memory that is shared with the host.
    #[must_use]
    pub unsafe fn new(pointer: NonNull<u8>, address: PhysAddr) -> Option<Self> {
        let off = |value: u64| value & (EVENT_AREA_ALIGN - 1) != 0;
        if off(pointer.addr().get() as u64) || off(address.as_u64()) {
            return None;
        }
        Some(Self { words: pointer.cast(), address: GuestPhysAddr(address.as_u64()) })
    }

    /// The guest physical address of the area.
    #[must_use]
    pub const fn address(&self) -> GuestPhysAddr {
        self.address
    }

    /// Whether the host wrote the area when it enabled with `epoch`. It may have had events since.
    pub(crate) fn is_written(&self, epoch: u64) -> bool {
        self.word(0).read() >= epoch
    }

    /// Word `N` of those that the driver reads.
    fn word(&self, index: u8) -> VolatilePtr<'_, u64, ReadOnly> {
        let index = usize::from(index).min(2);
        // SAFETY: the area has eight words, and this is one of the first three.
        let word = unsafe { self.words.add(index) };
        // SAFETY: whoever made this promised that the area is valid for volatile reads for ever.
        unsafe { VolatilePtr::new_read_only(word) }
    }
}

/// The latest event that the host announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LatestEvent {
    /// The VM's epoch after the event.
    pub epoch: u64,
    /// Number of events since ENABLE. If it is more than one ahead of the last one seen, events were overwritten, and
    /// every device may be concerned (statement V3).
    pub sequence: u64,
    /// What the event was.
    pub reason: EventReason,
    /// The device that the event is about; `None` for every device of the VM.
    pub device: Option<DeviceId>,
}

/// Reads the event area, without a call and without an exit.
#[derive(Debug)]
pub struct Events {
    memory: EventMemory,
    /// The epoch after ENABLE: every event since has raised epoch and sequence by one.
    first: u64,
}

impl Events {
    pub(crate) const fn new(memory: EventMemory, first: u64) -> Self {
        Self { memory, first }
    }

    /// The VM's epoch now. Pairs that were mapped in an earlier epoch may be stale.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.memory.word(0).read()
    }

    /// The latest event. `None` if the host wrote on while it was read: the epoch has then changed, and the caller
    /// asks again.
    #[must_use]
    pub fn read(&self) -> Option<LatestEvent> {
        for _ in 0..TRIES {
            // Against the order of the host's writes (statement V2). x86 does not reorder loads, and the compiler does
            // not reorder volatile ones.
            let epoch = self.memory.word(0).read();
            let what = self.memory.word(2).read();
            let sequence = self.memory.word(1).read();
            if epoch.checked_sub(self.first) == Some(sequence) {
                return Some(snapshot(epoch, sequence, what));
            }
            core::hint::spin_loop();
        }
        None
    }

    pub(crate) fn into_memory(self) -> EventMemory {
        self.memory
    }
}

fn snapshot(epoch: u64, sequence: u64, what: u64) -> LatestEvent {
    let [r0, r1, r2, r3, s0, s1, b0, b1] = what.to_le_bytes();
    let device = DeviceId::new(u16::from_le_bytes([s0, s1]), pvir_abi::Bdf(u16::from_le_bytes([b0, b1])));
    let every = DeviceId::new(u16::MAX, pvir_abi::Bdf(u16::MAX));
    let reason = EventReason(u32::from_le_bytes([r0, r1, r2, r3]));
    LatestEvent { epoch, sequence, reason, device: (device != every).then_some(device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    static AREA: StaticEventArea = StaticEventArea::new();

    #[test]
    fn a_snapshot_names_epoch_reason_and_device() {
        let event = snapshot(7, 2, 0x0008_0001_0000_0003);
        assert_eq!((event.epoch, event.sequence, event.reason), (7, 2, EventReason::DEVICE_CUT_OFF));
        assert_eq!(event.device, Some(DeviceId::new(1, pvir_abi::Bdf(8))));
        assert_eq!(snapshot(7, 2, 0xffff_ffff_0000_0001).device, None);
    }

    static WRITTEN: StaticEventArea = StaticEventArea::new();

    #[test]
    fn an_event_that_is_being_written_is_not_taken() {
        // SAFETY: called once; no host looks at the address.
        let memory = unsafe { WRITTEN.memory(PhysAddr::new(0x40)) }.unwrap();
        let events = Events::new(memory, 5);
        let put = |words: [u64; 3]| {
            for (index, word) in words.into_iter().enumerate() {
                // SAFETY: inside of the area, and nobody else writes it.
                let place = unsafe { WRITTEN.words.get().cast::<u64>().add(index) };
                // SAFETY: as above.
                unsafe { place.write_volatile(word) };
            }
        };
        put([5, 0, 0]);
        assert_eq!(events.read().map(|event| event.sequence), Some(0));
        put([5, 1, 0]);
        assert_eq!(events.read(), None, "sequence is written first");
        put([5, 1, 2]);
        assert_eq!(events.read(), None, "then reason and device");
        put([6, 1, 2]);
        assert_eq!(events.read().map(|event| event.reason), Some(EventReason::DEVICE_GONE));
        put([4, 0, 0]);
        assert_eq!(events.read(), None, "an epoch never goes back");
    }

    #[test]
    fn an_unaligned_address_is_refused() {
        // SAFETY: refused, so nothing is used.
        assert!(unsafe { AREA.memory(PhysAddr::new(0x20)) }.is_none());
    }
}
