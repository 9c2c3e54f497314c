//! A device: its pairs, its mask bits, and what it holds when an entry is mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pvir_abi::{Pair, Store};
use pvir_host::device::{Capabilities, Device, HostCounts, NotIsolated, StoreShape};
use pvir_host::eventfd::EventFd;
use pvir_host::mapping::RegionMap;

use crate::lines::Lines;
use crate::list::Wrong;

/// Bytes of an entry of the MSI-X table, the offset of its vector control, and the mask bit there (PCI Express Base
/// Specification 6.0, section 7.7.2 "MSI-X Capability and Table Structure").
const ENTRY: u64 = 16;
const VECTOR_CONTROL: u64 = 12;
const MASK: u32 = 1;
/// From the handle of one IRTE to that of the next, in a remappable address (Intel VT-d Specification, Rev. 5.10, section
/// 5.1.2.2 "Interrupt Requests in Remappable Format").
pub(crate) const NEXT_HANDLE: u64 = 1 << 5;
/// How long a device may take to send what it holds. It takes less than a millisecond.
const SENDING: Duration = Duration::from_secs(1);

/// A device of which something is wrong.
pub(crate) struct WrongDevice {
    device: Box<dyn Device>,
    /// Its number, in the order of the command line.
    number: usize,
    lines: Arc<Lines>,
    /// The memory of its MSI-X table.
    table: Option<Arc<RegionMap>>,
    wrong: Option<Wrong>,
    /// The first pair that it ever gave.
    first_pair: Option<Pair>,
    /// The first pair of each entry.
    first_of: BTreeMap<(u16, u32), Pair>,
    /// Entries whose pair was read since they were started: MAP is done with them, and who asks again is a reset.
    settled: BTreeSet<(u16, u32)>,
}

impl WrongDevice {
    pub(crate) fn new(
        device: Box<dyn Device>,
        (number, lines): (usize, Arc<Lines>),
        table: Option<Arc<RegionMap>>,
        wrong: Option<Wrong>,
    ) -> Self {
        Self {
            device,
            number,
            lines,
            table,
            wrong,
            first_pair: None,
            first_of: BTreeMap::new(),
            settled: BTreeSet::new(),
        }
    }

    fn set_masked(&self, store: Store, index: u32, masked: bool) -> io::Result<()> {
        let Some(table) = self.table.as_ref().filter(|_| store == Store::MSIX) else { return Ok(()) };
        let at = u64::from(index) * ENTRY + VECTOR_CONTROL;
        let control = table.read(at)?;
        table.write(at, if masked { control | MASK } else { control & !MASK })
    }

    /// Unmasks an entry that has no IRTE yet, until the device has sent what it holds: to nobody.
    fn send_to_nobody(&mut self, store: Store, index: u32) -> io::Result<()> {
        self.set_masked(store, index, false)?;
        let started = Instant::now();
        while self.device.pending(store, index) && started.elapsed() < SENDING {
            thread::yield_now();
        }
        self.set_masked(store, index, true)
    }
}

impl Device for WrongDevice {
    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        if self.wrong == Some(Wrong::LostInMap) {
            for (index, _) in (first..).zip(eventfds) {
                self.send_to_nobody(store, index)?;
            }
        }
        for (index, eventfd) in (first..).zip(eventfds) {
            self.settled.remove(&(store.0, index));
            self.lines.started(self.number, (store, index), eventfd.try_clone()?);
        }
        self.device.start(store, first, eventfds)
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        let pair = self.device.pair(store, index)?;
        self.lines.has_pair(self.number, (store, index), pair);
        let first = *self.first_pair.get_or_insert(pair);
        let is_settled = !self.settled.insert((store.0, index));
        Ok(match self.wrong {
            Some(Wrong::PairOfAnotherEntry) => Pair { address: pair.address + NEXT_HANDLE, ..pair },
            Some(Wrong::PairOfReset) if is_settled => Pair { address: pair.address + NEXT_HANDLE, ..pair },
            Some(Wrong::OnePairForAll) => first,
            Some(Wrong::PairAgain) => *self.first_of.entry((store.0, index)).or_insert(pair),
            _ => pair,
        })
    }

    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        let masked = self.device.mask(store, index)?;
        let is_settled = self.settled.contains(&(store.0, index));
        if self.wrong == Some(Wrong::MaskLeftUnset)
            || self.wrong == Some(Wrong::UnmaskedByReset) && is_settled
        {
            self.set_masked(store, index, false)?;
        }
        Ok(masked)
    }

    fn mask_all(&mut self) -> io::Result<()> {
        self.device.mask_all()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn name(&self) -> String {
        self.device.name()
    }

    fn isolated(&self) -> Result<(), NotIsolated> {
        self.device.isolated()
    }

    fn open(&mut self) -> io::Result<()> {
        self.device.open()
    }

    fn close(&mut self) -> io::Result<()> {
        self.device.close()
    }

    fn shape(&self) -> StoreShape {
        self.device.shape()
    }

    fn trap(&mut self, store: Store) -> io::Result<()> {
        self.device.trap(store)
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        self.device.untrap(store)
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        self.device.pending(store, index)
    }

    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        self.device.backing(store, index)
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        (first..).zip(0..count).for_each(|(index, _)| self.lines.stopped(self.number, (store, index)));
        self.device.stop(store, first, count)
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        self.device.host_counts()
    }
}
