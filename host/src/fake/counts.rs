//! What the host counts for a fake device.

use super::platform::StartedEntry;
use super::{Entry, FakePlatform, SharedPlatform};
use crate::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts, KernelTotals};

/// The counts of one fake device on a fake host.
pub(super) struct FakeCounts {
    pub(super) number: u32,
    pub(super) platform: SharedPlatform,
}

impl HostCounts for FakeCounts {
    fn read(&self, _: &KernelCounts, _: CountPurpose) -> Vec<HostInterrupt> {
        let asked = self.platform.lock().when_counted.clone();
        if let Some(asked) = asked {
            asked();
        }
        let platform = self.platform.lock();
        let own = platform.started.iter().filter(|(entry, _)| entry.device == self.number);
        let line = |(_, started): (&Entry, &StartedEntry)| {
            let Entry { store, index, .. } = started.backing;
            let total = started.count;
            HostInterrupt { store, index, irq: None, count: Some(total), total }
        };
        own.map(line).collect()
    }
    fn sum(&self, _: &KernelTotals) -> Option<u64> {
        let platform = self.platform.lock();
        let sum = platform.sums.get(&self.number).copied().unwrap_or(0);
        (!platform.uncounted.contains(&self.number)).then_some(sum)
    }
}

impl FakePlatform {
    /// Sets how many interrupts of device `number` the host has counted so far; `None` if it does not count them.
    pub fn set_counted(&mut self, number: u32, sum: Option<u64>) {
        match sum {
            Some(sum) => {
                self.uncounted.remove(&number);
                self.sums.insert(number, sum);
            }
            None => _ = self.uncounted.insert(number),
        }
    }
}
