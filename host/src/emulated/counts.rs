//! What became of the interrupts.

use super::core::Core;
use crate::device::{HostCounts, HostInterrupt, KernelCounts, Reading};
use pvir_abi::Store;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of one of a device's interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// How often it was raised.
    pub raised: u64,
    /// Messages that the remapping unit let through.
    pub sent: u64,
    /// Messages that were blocked: by the remapping unit, or because there was none to send.
    pub blocked: u64,
    /// How often it was held because its entry was masked.
    pub held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) raised: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) blocked: AtomicU64,
    pub(super) held: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            raised: read(&self.raised),
            sent: read(&self.sent),
            blocked: read(&self.blocked),
            held: read(&self.held),
        }
    }
}

/// The messages that the unit let through since each interrupt was started.
pub(super) struct SentSinceStart {
    core: Arc<Core>,
    /// What each had sent before.
    before: Mutex<BTreeMap<(Store, u32), u64>>,
}

impl SentSinceStart {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, before: Mutex::default() }
    }

    pub(super) fn started(&self, store: Store, indices: impl Iterator<Item = u32>) {
        self.lock().extend(indices.map(|index| ((store, index), self.sent(store, index))));
    }

    pub(super) fn stopped(&self, store: Store, indices: &Range<u32>) {
        self.lock().retain(|(other, index), _| *other != store || !indices.contains(index));
    }

    fn sent(&self, store: Store, index: u32) -> u64 {
        self.core.shape().number(store, index).map_or(0, |number| self.core.counts(number).sent)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Store, u32), u64>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCounts for SentSinceStart {
    fn read(&self, _: &KernelCounts, _: Reading) -> Vec<HostInterrupt> {
        let line = |(&(store, index), &before): (&(Store, u32), &u64)| {
            let total = self.sent(store, index);
            HostInterrupt { store, index, irq: None, count: Some(total.saturating_sub(before)), total }
        };
        self.lock().iter().map(line).collect()
    }
}
