//! What the host counts for a fake device.

use super::platform::StartedEntry;
use super::{Entry, SharedPlatform};
use crate::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts};

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
}
