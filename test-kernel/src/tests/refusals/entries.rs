//! Records that are refused, each beside a good one that must be carried out all the same.

use crate::harness::checks::Checks;
use crate::machine::cpu;
use crate::raw::Raw;
use pvir_guest::abi::{
    Arch, CallFlags, DeliveryMode, DestinationMode, DeviceId, EntryRecord, Handle, Header, Operation,
    Routing, Status, Store, X86Route,
};

const VECTOR: u8 = 0x50;

pub(super) fn run(raw: &Raw, id: DeviceId, entries: u32, checks: &mut Checks) {
    let Some(apic_id) = cpu::by_index(0).map(|cpu| cpu.apic_id) else { return };
    let good = EntryRecord::map(id, Store::MSIX, 0, X86Route::fixed(apic_id, VECTOR).into());
    let Some(mapped) = map(raw, &good, checks) else { return };
    maps(raw, &good, entries, checks);
    again(raw, &good, &mapped, checks);
    handles(raw, &good, &mapped, checks);
    whole(raw, &good, checks);
    release(raw, &mapped, checks);
}

fn map(raw: &Raw, good: &EntryRecord, checks: &mut Checks) -> Option<EntryRecord> {
    let answer = raw.call(&Raw::header(Operation::MAP, 1), &[*good]);
    let mapped = raw.read::<EntryRecord>(1);
    let right = answer.status == Status::OK && mapped.handle != Handle::NONE && mapped.address != 0;
    checks.expect("map", right, format_args!("{answer}: handle {}, pair {}", mapped.handle, mapped.pair()));
    right.then_some(mapped)
}

/// The same entry as a record without answer, with another routing.
fn routed(good: &EntryRecord, change: impl FnOnce(&mut Routing)) -> EntryRecord {
    let mut entry = EntryRecord { index: 1, ..*good };
    change(&mut entry.routing);
    entry
}

fn maps(raw: &Raw, good: &EntryRecord, entries: u32, checks: &mut Checks) {
    let other = EntryRecord { index: 1, ..*good };
    let broadcast = |id| routed(good, |r| r.destination = id);
    let mode = |mode: DeliveryMode| routed(good, |r| r.delivery_mode = mode.0);
    let foreign = DeviceId { segment: 0x7777, ..good.device };
    let wrong = [
        ("vector 0", Status::BAD_VECTOR, routed(good, |r| r.vector = 0)),
        ("vector 2", Status::BAD_VECTOR, routed(good, |r| r.vector = 2)),
        ("vector 31", Status::BAD_VECTOR, routed(good, |r| r.vector = 31)),
        ("no such vCPU", Status::BAD_DESTINATION, broadcast(0xfff_fff0)),
        ("broadcast", Status::BROADCAST, broadcast(u32::MAX)),
        ("lowest priority", Status::BAD_DELIVERY_MODE, mode(DeliveryMode::LOWEST_PRIORITY)),
        ("SMI", Status::BAD_DELIVERY_MODE, mode(DeliveryMode::SMI)),
        ("mode 3", Status::BAD_DELIVERY_MODE, mode(DeliveryMode(3))),
        ("NMI", Status::BAD_DELIVERY_MODE, mode(DeliveryMode::NMI)),
        ("INIT", Status::BAD_DELIVERY_MODE, mode(DeliveryMode::INIT)),
        ("mode 6", Status::BAD_DELIVERY_MODE, mode(DeliveryMode(6))),
        ("ExtINT", Status::BAD_DELIVERY_MODE, mode(DeliveryMode::EXTINT)),
        ("mode 255", Status::BAD_DELIVERY_MODE, mode(DeliveryMode(255))),
        (
            "logical",
            Status::BAD_DESTINATION_MODE,
            routed(good, |r| r.destination_mode = DestinationMode::LOGICAL.0),
        ),
        ("destination mode 2", Status::BAD_DESTINATION_MODE, routed(good, |r| r.destination_mode = 2)),
        ("hint", Status::BAD_DESTINATION_MODE, routed(good, |r| r.hint = 1)),
        ("hint 2", Status::RESERVED_NOT_ZERO, routed(good, |r| r.hint = 2)),
        ("reserved", Status::RESERVED_NOT_ZERO, routed(good, |r| r.reserved = 1)),
        ("handle with MAP", Status::RESERVED_NOT_ZERO, EntryRecord { handle: Handle(1), ..other }),
        ("unknown flag", Status::BAD_FLAGS, EntryRecord { flags: 1 << 7, ..other }),
        ("parked with routing", Status::RESERVED_NOT_ZERO, EntryRecord { flags: 1, ..other }),
        ("architecture", Status::BAD_ARCH, EntryRecord { arch: Arch::ARM_ITS, ..other }),
        ("store 0", Status::BAD_STORE, EntryRecord { store: Store(0), ..other }),
        ("store 9", Status::BAD_STORE, EntryRecord { store: Store(9), ..other }),
        ("store IMS", Status::STORE_UNSUPPORTED, EntryRecord { store: Store::IMS, ..other }),
        ("index at the end", Status::BAD_INDEX, EntryRecord { index: entries, ..other }),
        ("index 2^32 - 1", Status::BAD_INDEX, EntryRecord { index: u32::MAX, ..other }),
        ("no message", Status::BAD_MESSAGE_COUNT, EntryRecord { count: 0, ..other }),
        ("two messages", Status::BAD_MESSAGE_COUNT, EntryRecord { count: 2, ..other }),
        ("foreign device", Status::NO_DEVICE, EntryRecord { device: foreign, ..other }),
    ];
    for (name, expected, record) in wrong {
        let before = raw.irtes();
        // The good record is mapped already: it must be answered again, whatever its neighbour is.
        let answer = raw.call(&Raw::header(Operation::MAP, 2), &[*good, record]);
        let (first, second) = (raw.read::<EntryRecord>(1), raw.read::<EntryRecord>(2));
        let silent = second.handle == record.handle || second.handle == Handle::NONE;
        let right = answer.status == Status::PARTIAL
            && answer.header.done == 1
            && first.status == Status::OK
            && second.status == expected
            && second.address == 0
            && silent
            && raw.irtes() == before;
        checks.expect("map", right, format_args!("{name}: {:?}", second.status));
    }
}

/// The same request again, and the same entry with another routing.
fn again(raw: &Raw, good: &EntryRecord, mapped: &EntryRecord, checks: &mut Checks) {
    raw.call(&Raw::header(Operation::MAP, 1), &[*good]);
    let second = raw.read::<EntryRecord>(1);
    let same =
        second.status == Status::OK && (second.handle, second.pair()) == (mapped.handle, mapped.pair());
    checks.expect("twice", same, format_args!("the same request: {:?}, {}", second.status, second.pair()));
    let moved = EntryRecord { index: 0, ..routed(good, |r| r.vector += 1) };
    raw.call(&Raw::header(Operation::MAP, 1), &[moved]);
    let status = raw.read::<EntryRecord>(1).status;
    checks.expect("twice", status == Status::ALREADY_MAPPED, format_args!("another routing: {status:?}"));
}

fn handles(raw: &Raw, good: &EntryRecord, mapped: &EntryRecord, checks: &mut Checks) {
    let named = good.with_handle(mapped.handle);
    let stale = |generation: u64| Handle(mapped.handle.0 ^ generation << 32);
    let wrong = [
        ("no handle", Operation::RETARGET, Status::STALE_HANDLE, named.with_handle(Handle::NONE)),
        ("another generation", Operation::RETARGET, Status::STALE_HANDLE, named.with_handle(stale(1))),
        ("all ones", Operation::RETARGET, Status::STALE_HANDLE, named.with_handle(Handle(u64::MAX))),
        ("another entry", Operation::RETARGET, Status::HANDLE_MISMATCH, EntryRecord { index: 1, ..named }),
        ("vector 5", Operation::RETARGET, Status::BAD_VECTOR, routed_with(named, 5)),
        ("another generation", Operation::UNMAP, Status::STALE_HANDLE, bare(good).with_handle(stale(1))),
        (
            "another entry",
            Operation::UNMAP,
            Status::HANDLE_MISMATCH,
            EntryRecord { index: 1, ..bare(good).with_handle(mapped.handle) },
        ),
        ("with routing", Operation::UNMAP, Status::RESERVED_NOT_ZERO, named),
        (
            "an entry that is not mapped",
            Operation::QUERY,
            Status::STALE_HANDLE,
            EntryRecord { index: 1, ..bare(good) },
        ),
    ];
    for (name, operation, expected, record) in wrong {
        raw.call(&Raw::header(operation, 1), &[record]);
        let status = raw.read::<EntryRecord>(1).status;
        checks.expect("handle", status == expected, format_args!("{operation:?}, {name}: {status:?}"));
    }
    raw.call(&Raw::header(Operation::QUERY, 1), &[bare(good)]);
    let held = raw.read::<EntryRecord>(1);
    let kept = (held.handle, held.pair(), held.routing) == (mapped.handle, mapped.pair(), good.routing);
    checks.expect("handle", kept, format_args!("QUERY: the entry is as it was: {kept}"));
}

fn routed_with(entry: EntryRecord, vector: u8) -> EntryRecord {
    EntryRecord { routing: Routing { vector, ..entry.routing }, ..entry }
}

/// The entry without routing.
fn bare(good: &EntryRecord) -> EntryRecord {
    EntryRecord::query(good.device, good.store, good.index)
}

/// ALL_OR_NOTHING: one bad record, and nothing happens.
fn whole(raw: &Raw, good: &EntryRecord, checks: &mut Checks) {
    let before = raw.irtes();
    let header = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), ..Raw::header(Operation::MAP, 3) };
    let (fresh, bad) = (EntryRecord { index: 1, ..*good }, EntryRecord { index: u32::MAX, ..*good });
    let answer = raw.call(&header, &[*good, fresh, bad]);
    let statuses = [1, 2, 3].map(|unit| raw.read::<EntryRecord>(unit).status);
    let right = answer.status == Status::ABORTED
        && answer.header.done == 0
        && statuses == [Status::ABORTED, Status::ABORTED, Status::BAD_INDEX]
        && raw.irtes() == before;
    checks.expect("all-or-nothing", right, format_args!("{answer}: {statuses:?}"));
}

/// Given back once, and not twice.
fn release(raw: &Raw, mapped: &EntryRecord, checks: &mut Checks) {
    let record = bare(mapped).with_handle(mapped.handle);
    let answer = raw.call(&Raw::header(Operation::UNMAP, 2), &[record, record]);
    let statuses = [1, 2].map(|unit| raw.read::<EntryRecord>(unit).status);
    let right = answer.status == Status::PARTIAL && statuses == [Status::OK, Status::STALE_HANDLE];
    checks.expect("unmap", right, format_args!("twice in one call: {statuses:?}"));
    raw.call(&Raw::header(Operation::UNMAP, 1), &[record]);
    let status = raw.read::<EntryRecord>(1).status;
    checks.expect("unmap", status == Status::STALE_HANDLE, format_args!("and once more: {status:?}"));
}
