//! What became of the interrupts.

use super::model::DeviceModel;
use pvir_abi::Store;
use pvir_host::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts, KernelTotals};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of one of a device's interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct InterruptCounts {
    /// How often it was raised.
    pub(crate) raised: u64,
    /// Messages that the remapping unit let through.
    pub(crate) sent: u64,
    /// Messages that were blocked: by the remapping unit, or because there was none to send.
    pub(crate) blocked: u64,
    /// How often it was held because its entry was masked.
    pub(crate) held: u64,
}

#[derive(Debug, Default)]
pub(crate) struct InterruptCounters {
    pub(crate) raised: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) blocked: AtomicU64,
    pub(crate) held: AtomicU64,
}

impl InterruptCounters {
    pub(crate) fn set(&self, counts: InterruptCounts) {
        let InterruptCounts { raised, sent, blocked, held } = counts;
        self.raised.store(raised, Ordering::Relaxed);
        self.sent.store(sent, Ordering::Relaxed);
        self.blocked.store(blocked, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> InterruptCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InterruptCounts {
            raised: read(&self.raised),
            sent: read(&self.sent),
            blocked: read(&self.blocked),
            held: read(&self.held),
        }
    }
}

/// The messages that the unit let through since each interrupt was started.
pub(crate) struct SentSinceStart {
    model: Arc<DeviceModel>,
    /// What each had sent before.
    before: Mutex<BTreeMap<(Store, u32), u64>>,
}

impl SentSinceStart {
    pub(crate) fn new(model: Arc<DeviceModel>) -> Self {
        Self { model, before: Mutex::default() }
    }

    pub(crate) fn started(&self, store: Store, indices: impl Iterator<Item = u32>) {
        self.lock().extend(indices.map(|index| ((store, index), self.sent(store, index))));
    }

    pub(crate) fn stopped(&self, store: Store, indices: &Range<u32>) {
        self.lock().retain(|(other, index), _| *other != store || !indices.contains(index));
    }

    fn sent(&self, store: Store, index: u32) -> u64 {
        self.model.layout().number(store, index).map_or(0, |number| self.model.counts(number).sent)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Store, u32), u64>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCounts for SentSinceStart {
    fn read(&self, _: &KernelCounts, _: CountPurpose) -> Vec<HostInterrupt> {
        let line = |(&(store, index), &before): (&(Store, u32), &u64)| {
            let total = self.sent(store, index);
            HostInterrupt::new(store, index, total).with_count(Some(total.saturating_sub(before)))
        };
        self.lock().iter().map(line).collect()
    }

    fn sum(&self, _: &KernelTotals) -> Option<u64> {
        Some((0..self.model.layout().interrupts()).map(|number| self.model.counts(number).sent).sum())
    }
}
