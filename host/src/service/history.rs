//! What became of IRTEs: the ones that are, and the latest of those that were, with what the host counted for them.

use super::vm::Vm;
use crate::device::HostInterrupt;
use crate::irte::{IrteInfo, Origin};
use pvir_abi::{DeviceId, Handle, Store};
use std::collections::{BTreeMap, VecDeque};

/// Most IRTEs that are remembered after they were given back: a guest can make and unmake them without end.
const MOST: usize = 4096;

/// One message of an IRTE as it is, or as it was when it was given back.
#[derive(Clone, Debug)]
pub struct IrteRecord {
    /// Where it comes from and where it goes.
    pub irte: IrteInfo,
    /// What the host counted for it, where it counts.
    pub host: Option<HostInterrupt>,
}

/// IRTEs that were given back, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    records: VecDeque<IrteRecord>,
    forgotten: u64,
}

impl History {
    fn push(&mut self, record: IrteRecord) {
        if self.records.len() >= MOST {
            self.records.pop_front();
            self.forgotten += 1;
        }
        self.records.push_back(record);
    }

    /// How many were given back but are not remembered any more.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl Vm {
    /// Remembers the IRTEs of `handles`, which are about to be given back: the host forgets its counts with them.
    pub(super) fn remember(&mut self, handles: &[Handle]) {
        let mut history = std::mem::take(&mut self.history);
        history.records.reserve(handles.len());
        self.records_of(handles.iter().copied(), |record| history.push(record));
        self.history = history;
    }

    /// The remembered ones, then all that are.
    pub(super) fn records(&self) -> Vec<IrteRecord> {
        let mut records: Vec<IrteRecord> = self.history.records.iter().cloned().collect();
        self.records_of(self.irtes.iter().map(|(handle, _)| handle), |record| records.push(record));
        records
    }

    /// Asks each device once, however many of its entries are meant.
    fn records_of(&self, handles: impl Iterator<Item = Handle>, mut take: impl FnMut(IrteRecord)) {
        let mut known: BTreeMap<DeviceId, Vec<HostInterrupt>> = BTreeMap::new();
        for handle in handles {
            let Some(irte) = self.irtes.get(handle) else { continue };
            let Origin { device, store, index } = irte.origin;
            let Some(attached) = self.devices.get(&device) else { continue };
            let of_device = known.entry(device).or_insert_with(|| {
                let mut of_device = attached.device.host_interrupts();
                of_device.sort_by_key(at);
                of_device
            });
            // The kernel counts for the entry whose interrupt it is, and for each message by itself.
            let (store, index) = attached.device.backing(store, index);
            irte.infos(handle).for_each(|irte| {
                let place = (store, index + u32::from(irte.message));
                let host = of_device.binary_search_by_key(&place, at).ok().map(|found| of_device[found]);
                take(IrteRecord { irte, host });
            });
        }
    }
}

fn at(host: &HostInterrupt) -> (Store, u32) {
    (host.store, host.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Pair;

    #[test]
    fn only_the_latest_are_remembered() {
        let mut history = History::default();
        for index in 0..u32::try_from(MOST).unwrap() + 3 {
            let origin = Origin { device: DeviceId::default(), store: Store::MSIX, index };
            let irte = IrteInfo {
                handle: Handle::new(index, 1),
                origin,
                message: 0,
                pair: Pair::default(),
                eventfd: 0,
                gsi: 0,
                route: None,
            };
            history.push(IrteRecord { irte, host: None });
        }
        assert_eq!((history.records.len(), history.forgotten()), (MOST, 3));
        assert_eq!(history.records[0].irte.origin.index, 3);
    }
}
