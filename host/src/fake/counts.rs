//! What the host counts for a fake device.

use super::world::Started;
use super::{Entry, SharedWorld};
use crate::device::{HostCounts, HostInterrupt, KernelCounts, Reading};

/// What a fake host counts.
pub(super) struct FakeCounts {
    pub(super) number: u32,
    pub(super) world: SharedWorld,
}

impl HostCounts for FakeCounts {
    fn read(&self, _: &KernelCounts, _: Reading) -> Vec<HostInterrupt> {
        let asked = self.world.lock().when_counted.clone();
        if let Some(asked) = asked {
            asked();
        }
        let world = self.world.lock();
        let own = world.started.iter().filter(|(entry, _)| entry.device == self.number);
        let line = |(_, started): (&Entry, &Started)| {
            let Entry { store, index, .. } = started.backing;
            let total = started.count;
            HostInterrupt { store, index, irq: None, count: Some(total), total }
        };
        own.map(line).collect()
    }
}
