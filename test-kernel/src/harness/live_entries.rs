//! Thousands of MSI-X entries at once, more than fit a stack.

use crate::remapping::{KERNEL, Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::DeviceId;
use pvir_guest::{
    BatchMode, Entry, EntryError, Error, Live, MapRequest, MapResult, MsixEntry, MsixTable, NOT_MAPPED,
    PciError, Target,
};
use spin::{Mutex, MutexGuard, Once};

/// Devices that can have a live_entries.
pub(crate) const DEVICES: usize = 2;
/// Most entries of an MSI-X table.
const ENTRIES: usize = 2048;
/// Entries in one MAP: to see that no two are the same, the driver compares each with each.
const MAP: usize = 64;

/// The live entries of one device, in order.
pub(crate) type LiveEntries = ArrayVec<Entry<MsixEntry<'static>, Live>, ENTRIES>;

static TABLES: [Once<MsixTable<'static, Kernel>>; DEVICES] = [const { Once::new() }; DEVICES];
static LIVE_ENTRIES: [Mutex<LiveEntries>; DEVICES] = [const { Mutex::new(ArrayVec::new_const()) }; DEVICES];

/// Why not every entry is live.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no table, or no place for another one.
    Table(Option<PciError>),
    Call(Error),
    /// The host did not grant this entry.
    Entry(u32, EntryError),
    /// Somebody has the entry, or its pair did not read back.
    Store(u32),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(Some(error)) => write!(f, "no table: {error}"),
            Self::Table(None) => write!(f, "no place for another table"),
            Self::Call(error) => write!(f, "{error}"),
            Self::Entry(index, error) => write!(f, "entry {index}: {error}"),
            Self::Store(index) => write!(f, "entry {index} cannot be programmed"),
        }
    }
}

/// The table of device number `place`, opened once.
pub(crate) fn table(place: usize, id: DeviceId) -> Result<&'static MsixTable<'static, Kernel>, Failed> {
    let slot = TABLES.get(place).ok_or(Failed::Table(None))?;
    slot.try_call_once(|| MsixTable::open(&KERNEL, id)).map_err(|error| Failed::Table(Some(error)))
}

/// The live_entries of device number `place`.
pub(crate) fn of_device(place: usize) -> Option<MutexGuard<'static, LiveEntries>> {
    LIVE_ENTRIES.get(place).map(Mutex::lock)
}

/// Maps, programs and unmasks the entries behind those of the live_entries, `count` of them, until one is not granted.
///
/// # Errors
/// Why it is not all of them; those before it are live.
pub(crate) fn extend(
    session: &Session,
    table: &'static MsixTable<'static, Kernel>,
    live_entries: &mut LiveEntries,
    count: u32,
    target: impl Fn(u32) -> Target,
) -> Result<(), Failed> {
    let first = u32::try_from(live_entries.len()).unwrap_or(u32::MAX);
    let mut rest = first..first.saturating_add(count).min(table.len());
    while !rest.is_empty() {
        let requests: ArrayVec<MapRequest, MAP> = rest
            .by_ref()
            .take(MAP)
            .map(|index| MapRequest::new(table.origin(index), target(index)))
            .collect();
        let mut results: ArrayVec<MapResult, MAP> = requests.iter().map(|_| NOT_MAPPED).collect();
        session.map_batch(&requests, &mut results, BatchMode::Partial).map_err(Failed::Call)?;
        for (request, result) in requests.iter().zip(results) {
            let index = request.origin.index;
            let irte = result.map_err(|error| Failed::Entry(index, error))?;
            let entry = table.claim(index).ok_or(Failed::Store(index))?;
            let programmed = entry.program(irte).map_err(|_| Failed::Store(index))?;
            live_entries.push(programmed.unmask());
        }
    }
    Ok(())
}

/// Masks the first `count` entries and gives them back; answers how many were.
pub(crate) fn unmap_first(session: &Session, live_entries: &mut LiveEntries, count: usize) -> usize {
    let mut given = 0;
    for entry in live_entries.drain(..count.min(live_entries.len())) {
        if let Ok(programmed) = entry.mask() {
            let (_masked, irte) = programmed.retire();
            given += usize::from(session.unmap(irte).is_ok());
        }
    }
    given
}
