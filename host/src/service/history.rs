//! The records of IRTEs that are held or were given back, with the host's counts for them.

use super::Service;
use super::counted::{Counted, CountedEntry};
use super::vm::Vm;
use crate::device::{CountPurpose, HostInterrupt};
use crate::irte::{Irte, IrteInfo};
use pvir_abi::Handle;
use std::collections::VecDeque;

/// Maximum number of records of IRTEs that were given back. A guest can map and unmap without end.
const MAX_HISTORY: usize = 4096;

/// One message of an IRTE: as it is, or as it was when the IRTE was given back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IrteRecord {
    /// The message's origin, route and handle.
    pub irte: IrteInfo,
    /// The host's counts for it; `None` if the host does not count it.
    pub host: Option<HostInterrupt>,
}

impl IrteRecord {
    /// The record of a message with the host's counts.
    #[must_use]
    pub fn new(irte: IrteInfo, host: Option<HostInterrupt>) -> Self {
        Self { irte, host }
    }
}

/// IRTEs that were given back, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    records: VecDeque<IrteRecord>,
    forgotten: u64,
}

/// A message of an IRTE, and whose interrupt it is.
#[derive(Debug)]
pub(super) struct IrteMessage {
    irte: IrteInfo,
    place: Option<CountedEntry>,
}

impl IrteMessage {
    /// The record of this message, with the counts for it.
    pub(super) fn record(self, counted: &Counted) -> IrteRecord {
        IrteRecord { irte: self.irte, host: counted.of(self.place) }
    }
}

impl History {
    /// All that are remembered.
    pub(super) fn records(&self) -> Vec<IrteRecord> {
        self.records.iter().cloned().collect()
    }

    fn push(&mut self, record: IrteRecord) {
        if self.records.len() >= MAX_HISTORY {
            self.records.pop_front();
            self.forgotten += 1;
        }
        self.records.push_back(record);
    }

    /// Number of messages of IRTEs that were given back and have no record any more.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl Service {
    /// A record of each message of every IRTE. Those that were given back come first, oldest first; they are kept
    /// only [if the VMM wants it](Service::with_history), and only the latest 4096 of them. The IRTEs that the guest
    /// holds follow.
    #[must_use]
    pub fn history(&self) -> Vec<IrteRecord> {
        let counted = self.count(CountPurpose::Report, |_, attached| attached.held > 0);
        let (mut records, messages) = {
            let vm = self.lock();
            (vm.history.records(), vm.messages())
        };
        records.extend(messages.into_iter().map(|message| message.record(&counted)));
        records
    }

    /// How many of those that were given back are in no history any more.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().history.forgotten()
    }
}

impl Vm {
    /// Remembers the IRTEs of `handles`, which are about to be given back: the host forgets its counts with them.
    /// Where no history is kept, nothing was counted.
    pub(super) fn remember(&mut self, handles: &[Handle], counted: Option<&Counted>) {
        for &handle in handles {
            let Some(irte) = self.irtes.get(handle) else { continue };
            let Some(counted) = counted else {
                self.history.forgotten += u64::from(irte.count());
                continue;
            };
            for message in self.messages_of(handle, irte) {
                self.history.push(message.record(counted));
            }
        }
    }

    /// The messages of all that are.
    pub(super) fn messages(&self) -> Vec<IrteMessage> {
        let mut messages = Vec::with_capacity(self.held as usize);
        for (handle, irte) in self.irtes.iter() {
            self.messages_of(handle, irte).for_each(|message| messages.push(message));
        }
        messages
    }

    fn messages_of<'a>(&self, handle: Handle, irte: &'a Irte) -> impl Iterator<Item = IrteMessage> + use<'a> {
        let first = self.place(&irte.origin);
        irte.infos(handle).map(move |irte| {
            let place = first.map(|(device, store, index)| (device, store, index + u32::from(irte.message)));
            IrteMessage { irte, place }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Origin;
    use pvir_abi::{DeviceId, Pair, Store};

    #[test]
    fn only_the_latest_are_remembered() {
        let mut history = History::default();
        for index in 0..u32::try_from(MAX_HISTORY).unwrap() + 3 {
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
        assert_eq!((history.records.len(), history.forgotten()), (MAX_HISTORY, 3));
        assert_eq!(history.records[0].irte.origin.index, 3);
    }
}
