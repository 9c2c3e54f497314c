//! How much of the host a VM takes, in nominal time: what the calls of the kernel cost that are made for it.
//!
//! The time is nominal so that it can be counted exactly, on any machine: each kind of call has a price, near what it
//! takes on a machine of 2026 with all that the kernel does for it later or on other CPUs (work queues, grace periods).
//! `docs/threat-model.md` has the prices beside what was measured.

use std::cell::Cell;

/// Nanoseconds in a microsecond, in which prices are given.
const MICROSECOND: u64 = 1_000;

/// What a piece of work costs, in nominal nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cost(u64);

impl Cost {
    /// A call of the guest: copied in, judged, copied out.
    pub(crate) const CALL: Self = Self::microseconds(2);
    /// A record of a call.
    pub(crate) const RECORD: Self = Self(MICROSECOND / 2);
    /// An access to a trapped store, of which the registers take note.
    pub(crate) const ACCESS: Self = Self::microseconds(2);
    /// Reading whether an eventfd holds an interrupt.
    pub(crate) const POLL: Self = Self::microseconds(1);
    /// `KVM_IRQFD`. It walks the VM's list of irqfds.
    pub(crate) const ATTACH: Self = Self::microseconds(20);
    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`, which waits for a grace period.
    pub(crate) const DETACH: Self = Self::microseconds(30);
    /// An irqfd that ends with its eventfd, in a work queue of KVM's.
    pub(crate) const CLOSE: Self = Self::microseconds(10);
    /// Masking an entry and reading its pair.
    pub(crate) const PAIR: Self = Self::microseconds(2);
    /// Handing a device's table to the guest, or taking it back.
    pub(crate) const HAND_OVER: Self = Self::microseconds(200);
    /// Preparing a device for being trapped, or undoing that.
    pub(crate) const TRAP: Self = Self::microseconds(50);
    /// Judging the isolation of a device: files of sysfs.
    pub(crate) const ISOLATION: Self = Self::microseconds(1_000);
    /// Reading the kernel's counts of interrupts.
    pub(crate) const COUNTS: Self = Self::microseconds(200);
    /// Mapping a part of a BAR into the guest, or unmapping it: a memory slot of KVM's.
    pub(crate) const MEMORY_SLOT: Self = Self::microseconds(100);

    /// Resetting a device: the kernel saves its configuration space and writes it back. What the reset itself takes passes
    /// in sleep.
    pub(crate) const RESET: Self = Self::microseconds(1_000);

    const fn microseconds(number: u64) -> Self {
        Self(number * MICROSECOND)
    }

    /// `KVM_SET_GSI_ROUTING` with so many routes: KVM copies all of them, and waits for a grace period.
    pub(crate) fn routing(routes: usize) -> Self {
        Self::microseconds(50) + Self(2 * MICROSECOND / 5).times(routes)
    }

    /// One request to a device, `VFIO_DEVICE_SET_IRQS`, that starts or stops so many interrupts.
    pub(crate) fn interrupts(number: usize) -> Self {
        Self::microseconds(20) + Self::microseconds(10).times(number)
    }

    /// The cost of so many of these.
    pub(crate) fn times(self, number: usize) -> Self {
        Self(self.0.saturating_mul(u64::try_from(number).unwrap_or(u64::MAX)))
    }

    /// Nominal nanoseconds.
    pub(crate) const fn nanoseconds(self) -> u64 {
        self.0
    }
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Adds up what is done for a VM, under the VM's lock.
#[derive(Debug, Default)]
pub(crate) struct WorkMeter(Cell<u64>);

impl WorkMeter {
    /// Adds the cost of what is done now. It is owed whether the kernel does it or refuses.
    #[inline]
    pub(crate) fn add(&self, cost: Cost) {
        self.0.set(self.0.get().saturating_add(cost.0));
    }

    /// Answers with what has come together since the last time.
    #[inline]
    pub(crate) fn take(&self) -> Cost {
        Cost(self.0.take())
    }
}
