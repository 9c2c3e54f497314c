//! What became of IRTEs: the ones that are, and the latest of those that were, with what the host counted for them.

use super::vm::Vm;
use crate::device::HostInterrupt;
use crate::irte::IrteInfo;
use pvir_abi::{DeviceId, Handle};
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
        let records = self.records_of(handles);
        records.into_iter().for_each(|record| self.history.push(record));
    }

    /// The remembered ones, then all that are.
    pub(super) fn records(&self) -> Vec<IrteRecord> {
        let handles: Vec<Handle> = self.irtes.iter().map(|(handle, _)| handle).collect();
        self.history.records.iter().cloned().chain(self.records_of(&handles)).collect()
    }

    /// Asks each device once, however many of its entries are meant.
    fn records_of(&self, handles: &[Handle]) -> Vec<IrteRecord> {
        let mut known: BTreeMap<DeviceId, Vec<HostInterrupt>> = BTreeMap::new();
        let irtes = handles.iter().filter_map(|handle| Some(self.irtes.get(*handle)?.infos(*handle)));
        let record = |irte: IrteInfo| {
            let origin = irte.origin;
            let attached = self.devices.get(&origin.device)?;
            let of_device = known.entry(origin.device).or_insert_with(|| attached.device.host_interrupts());
            // The kernel counts for the entry whose interrupt it is, and for each message by itself.
            let (store, index) = attached.device.backing(origin.store, origin.index);
            let at = (store, index + u32::from(irte.message));
            let host = of_device.iter().find(|host| (host.store, host.index) == at).copied();
            Some(IrteRecord { irte, host })
        };
        irtes.flatten().filter_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irte::Origin;
    use pvir_abi::{Pair, Store};

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
