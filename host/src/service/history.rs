//! What became of IRTEs: the ones that are, and the latest of those that were, with what the host counted for them.

use super::counted::Counted;
use super::vm::Vm;
use crate::device::HostInterrupt;
use crate::irte::IrteInfo;
use pvir_abi::Handle;
use std::collections::VecDeque;

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
    pub(super) fn remember(&mut self, handles: &[Handle], counted: &Counted) {
        let records = self.records_of(handles, counted);
        records.into_iter().for_each(|record| self.history.push(record));
    }

    /// The remembered ones, then all that are.
    pub(super) fn records(&self, counted: &Counted) -> Vec<IrteRecord> {
        self.history.records.iter().cloned().chain(self.live_records(counted)).collect()
    }

    /// All that are.
    pub(super) fn live_records(&self, counted: &Counted) -> Vec<IrteRecord> {
        let handles: Vec<Handle> = self.irtes.iter().map(|(handle, _)| handle).collect();
        self.records_of(&handles, counted)
    }

    fn records_of(&self, handles: &[Handle], counted: &Counted) -> Vec<IrteRecord> {
        let irtes = handles.iter().filter_map(|handle| Some(self.irtes.get(*handle)?.infos(*handle)));
        let record = |irte: IrteInfo| {
            let attached = self.devices.get(&irte.origin.device);
            let host = attached
                .and_then(|attached| counted.of(&*attached.device, &irte.origin, irte.message.into()));
            IrteRecord { irte, host }
        };
        irtes.flatten().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irte::Origin;
    use pvir_abi::{DeviceId, Pair, Store};

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
