//! The records that the tests send, and what they find in the answers.

use super::*;

pub(super) fn place(number: u8, index: u32) -> Entry {
    Entry { device: number.into(), store: Store::MSIX, index }
}

/// A MAP of an MSI-X entry, fixed to one vCPU.
pub(super) fn routed(number: u8, index: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord::map(device(number), Store::MSIX, index, X86Route::fixed(destination, vector).into())
}

pub(super) fn parked(number: u8, index: u32) -> EntryRecord {
    EntryRecord::map_parked(device(number), Store::MSIX, index)
}

pub(super) fn query_of(number: u8, index: u32) -> EntryRecord {
    EntryRecord::query(device(number), Store::MSIX, index)
}

/// A MAP of messages of device 2, fixed to one vCPU.
pub(super) fn messages(count: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord {
        count,
        ..EntryRecord::map(device(2), Store::MSI, 0, X86Route::fixed(destination, vector).into())
    }
}

pub(super) fn parked_messages(count: u32) -> EntryRecord {
    EntryRecord { count, ..EntryRecord::map_parked(device(2), Store::MSI, 0) }
}

pub(super) fn msi_query() -> EntryRecord {
    EntryRecord::query(device(2), Store::MSI, 0)
}

/// A MAP of an IMS entry, fixed to one vCPU.
pub(super) fn ims(number: u8, index: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord::map(device(number), Store::IMS, index, X86Route::fixed(destination, vector).into())
}

/// The RETARGET of a mapped entry.
pub(super) fn moved(mapped: &EntryRecord, destination: u32, vector: u8) -> EntryRecord {
    let to = X86Route::fixed(destination, vector).into();
    let EntryRecord { device, store, index, count, .. } = *mapped;
    EntryRecord { count, ..EntryRecord::map(device, store, index, to) }.with_handle(mapped.handle)
}

/// The RETARGET that parks a mapped entry.
pub(super) fn park(mapped: &EntryRecord) -> EntryRecord {
    let EntryRecord { device, store, index, count, .. } = *mapped;
    EntryRecord { count, ..EntryRecord::map_parked(device, store, index) }.with_handle(mapped.handle)
}

/// The UNMAP of a mapped entry, and its QUERY by handle.
pub(super) fn named(mapped: &EntryRecord) -> EntryRecord {
    named_by_entry(mapped).with_handle(mapped.handle)
}

/// The QUERY of an entry without its handle.
pub(super) fn named_by_entry(entry: &EntryRecord) -> EntryRecord {
    EntryRecord { count: entry.count, ..EntryRecord::query(entry.device, entry.store, entry.index) }
}

/// Entries `from..to` of device 0, routed over all vCPUs with vectors from 0x40 on.
pub(super) fn batch(indices: std::ops::Range<u32>) -> Vec<EntryRecord> {
    let route = |index: u32| routed(0, index, APIC_IDS[index as usize % 3], 0x40 + (index % 128) as u8);
    indices.map(route).collect()
}

pub(super) fn statuses(records: &[EntryRecord]) -> Vec<Status> {
    records.iter().map(|record| record.status).collect()
}
