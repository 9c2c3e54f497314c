//! Thousands of MSI-X entries at once, more than fit a stack.

use crate::machine::memory::page_vec::PageVec;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::DeviceId;
use pvir_guest::{
    BatchMode, Entry, EntryError, Error, Live, MapRequest, MapResult, MsixEntry, MsixTable, NOT_MAPPED,
    Origin, PciError, Target,
};

/// Entries in one MAP: to see that no two are the same, the driver compares each with each.
const MAP: usize = 64;

/// An entry of this kernel's that sends.
pub(crate) type LiveEntry = Entry<MsixEntry<Kernel>, Live>;

/// A device's table and its live entries, which are those from the front, in order.
pub(crate) struct LiveTable {
    table: MsixTable<Kernel>,
    entries: PageVec<LiveEntry>,
}

/// Why not every entry is live.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no table.
    Table(PciError),
    /// There is no memory for the entries.
    Memory,
    Call(Error),
    /// The host did not grant this entry.
    Entry(u32, EntryError),
    /// Somebody has the entry, or its pair did not read back.
    Store(u32),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => write!(f, "no table: {error}"),
            Self::Memory => write!(f, "no memory for the entries"),
            Self::Call(error) => write!(f, "{error}"),
            Self::Entry(index, error) => write!(f, "entry {index}: {error}"),
            Self::Store(index) => write!(f, "entry {index} cannot be programmed"),
        }
    }
}

impl LiveTable {
    /// The table of a device, of which no entry is live.
    pub(crate) fn open(id: DeviceId) -> Result<Self, Failed> {
        let table = MsixTable::open(Kernel, id).map_err(Failed::Table)?;
        let entries = PageVec::with_capacity(table.len() as usize).ok_or(Failed::Memory)?;
        Ok(Self { table, entries })
    }

    /// Number of entries in the table.
    pub(crate) const fn size(&self) -> u32 {
        self.table.len()
    }

    /// An entry as the host knows it.
    pub(crate) fn origin(&self, index: u32) -> Origin {
        self.table.origin(index)
    }

    /// The live entries.
    pub(crate) fn live(&self) -> &[LiveEntry] {
        &self.entries
    }

    /// Maps, programs and unmasks the entries behind those that are live, `count` of them, until one is not granted.
    ///
    /// # Errors
    /// Why it is not all of them; those before it are live.
    pub(crate) fn extend(
        &mut self,
        session: &Session,
        count: u32,
        target: impl Fn(u32) -> Target,
    ) -> Result<(), Failed> {
        let first = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut rest = first..first.saturating_add(count).min(self.size());
        while !rest.is_empty() {
            let requests: ArrayVec<MapRequest, MAP> = rest
                .by_ref()
                .take(MAP)
                .map(|index| MapRequest::new(self.table.origin(index), target(index)))
                .collect();
            let mut results: ArrayVec<MapResult, MAP> = requests.iter().map(|_| NOT_MAPPED).collect();
            session.map_batch(&requests, &mut results, BatchMode::Partial).map_err(Failed::Call)?;
            for (request, result) in requests.iter().zip(results) {
                let index = request.origin.index;
                let irte = result.map_err(|error| Failed::Entry(index, error))?;
                let entry = self.table.claim(index).ok_or(Failed::Store(index))?;
                let programmed = entry.program(irte).map_err(|_| Failed::Store(index))?;
                self.entries.push(programmed.unmask());
            }
        }
        Ok(())
    }

    /// Masks the first `count` entries and gives them back; answers how many were.
    pub(crate) fn unmap_first(&mut self, session: &Session, count: usize) -> usize {
        let mut given = 0;
        for entry in self.entries.drain(count) {
            if let Ok(programmed) = entry.mask() {
                let (_masked, irte) = programmed.retire();
                given += usize::from(session.unmap(irte).is_ok());
            }
        }
        given
    }
}
