//! What came of interrupts that were raised: how many, where, and that nothing else came.

use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::{self, Cpu, interrupts};
use crate::machine::devices::{Device, Trigger};

/// The processor and the vector that a message in compatibility format goes to.
#[derive(Clone, Copy)]
pub(super) struct MessageTarget {
    pub(super) cpu: &'static Cpu,
    pub(super) vector: u8,
}

impl MessageTarget {
    /// On the processor at `index`, counted round.
    pub(super) fn new(index: usize, vector: u8) -> Option<Self> {
        let cpu = cpu::by_index(index % cpu::count().max(1))?;
        Some(Self { cpu, vector })
    }

    /// The message to it, in the form that the destination needs.
    pub(super) fn message(self) -> (u64, u32) {
        let id = self.cpu.apic_id;
        let (low, high) = (u64::from(id & 0xff), u64::from(id & 0x7f00));
        // Bits 14:8 stand where hypervisors extend the destination (KVM_FEATURE_MSI_EXT_DEST_ID).
        (0xfee0_0000 | low << 12 | high >> 3, u32::from(self.vector))
    }

    fn count(self) -> u64 {
        interrupts::count(self.cpu.index, self.vector)
    }
}

/// All interrupts of all processors before something is done.
pub(super) struct Witness {
    before: u64,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self { before: interrupts::grand_total() }
    }

    /// Whether exactly so many came, all in all. A device that repeats may send each twice.
    pub(super) fn saw(&self, raised: u64, device: &Device) -> bool {
        let came = || interrupts::grand_total() - self.before;
        let max_taken = if device.repeats() { 2 * raised } else { raised };
        wait_until(PATIENCE_MS, || came() >= raised) && !wait_until(QUIET_MS, || came() > max_taken)
    }

    /// Waits for what a device had kept while its capability was off, and sends when it is on again: nothing, or each
    /// of `raised` interrupts, as QEMU's `igb` does. Whether there were no more than that.
    pub(super) fn saw_no_more_than_kept(&self, raised: u64) -> bool {
        let came = || interrupts::grand_total() - self.before;
        // They come one by one where the host is busy, so after the first one the others are worth the wait.
        if wait_until(10 * QUIET_MS, || came() > 0) {
            wait_until(PATIENCE_MS, || came() >= raised);
        }
        !wait_until(QUIET_MS, || came() > raised)
    }

    /// Whether no interrupt comes.
    pub(super) fn saw_nothing(&self) -> bool {
        !wait_until(QUIET_MS, || interrupts::grand_total() != self.before)
    }
}

/// Raises a vector; whether it came where it should. That nothing came elsewhere is for the [`Witness`] to say.
pub(super) fn raise_to(device: &mut Device, vector: u16, place: MessageTarget) -> bool {
    let before = place.count();
    device.raise(vector);
    let came = wait_until(PATIENCE_MS, || place.count() > before);
    device.acknowledge(vector);
    came
}

/// Does something that lets a held interrupt go; whether it came where it should.
pub(super) fn comes_to(place: MessageTarget, release: impl FnOnce()) -> bool {
    let before = place.count();
    release();
    wait_until(PATIENCE_MS, || place.count() > before)
}
