//! Answers in the records of MAP, RETARGET, UNMAP and QUERY.

use super::{Answer, AnswerKind, Change, Draft, STRANGER, ScriptedHost};
use crate::{
    Arch, CallFlags, EntryFlags, EntryRecord, EntryState, Handle, Operation, Pair, Status, Store, X86Route,
};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The answer that all are made from.
pub(super) fn honest(operation: Operation, entry: &mut EntryRecord) {
    entry.status = Status::OK;
    if operation == Operation::UNMAP {
        return;
    }
    entry.handle = ScriptedHost::handle(entry);
    let Pair { address, data } = ScriptedHost::pair(entry);
    (entry.address, entry.data) = (address, data);
    let mut state = EntryState::empty();
    state.set(EntryState::PARKED, entry.flags & EntryFlags::PARKED.bits() != 0);
    state.set(EntryState::MASKED, operation == Operation::MAP && entry.store == Store::MSIX);
    entry.state = state.bits();
    if operation == Operation::QUERY {
        (entry.arch, entry.routing) = (Arch::X86_APIC, X86Route::fixed(0, 0x40).into());
    }
}

/// Statuses of a record, the last of a later version.
fn failures() -> impl Iterator<Item = Status> {
    let known = Status::TABLE.iter().map(|row| row.0).filter(|status| status.0 > Status::ABORTED.0);
    known.chain([Status(0x7777)])
}

/// All that is particular to entries.
pub(super) fn all(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    let operation = sent.header.operation;
    if operation == Operation::MAP {
        Draft::add(honest, all, AnswerKind::Legal, "every entry was mapped before", |draft| {
            draft.each(|entry: &mut EntryRecord| {
                entry.state = entry.state & EntryState::PARKED.bits() | EntryState::EXISTING.bits();
            });
        });
    }
    for place in 0..sent.records() {
        fail(sent, honest, place, all);
        statuses(sent, honest, place, all);
        echoes(honest, operation, place, all);
        match operation {
            Operation::UNMAP => bare(honest, place, "UNMAP", all),
            _ => answered(honest, operation, place, all),
        }
    }
    if operation == Operation::MAP && sent.records() > 1 {
        doubles(sent, honest, all);
    }
}

/// A record that failed, as a host leaves it, the others as they were or aborted.
fn failed(sent: &Draft, honest: &Answer, place: usize, status: Status) -> Draft {
    let whole = sent.header.flags & CallFlags::ALL_OR_NOTHING.bits() != 0;
    let mut draft = Draft::of(honest);
    for record in 0..sent.records() {
        if whole || record == place {
            let asked: EntryRecord = sent.record(record);
            let status = if record == place { status } else { Status::ABORTED };
            draft.set(record, &EntryRecord { status, address: 0, data: 0, state: 0, ..asked });
        }
    }
    draft.header.done = if whole { 0 } else { sent.header.count - 1 };
    draft.say(if whole { Status::ABORTED } else { Status::PARTIAL });
    draft
}

fn fail(sent: &Draft, honest: &Answer, place: usize, all: &mut Vec<Answer>) {
    for status in failures() {
        let name = format!("record {place} is {status:?}");
        all.push(failed(sent, honest, place, status).into_answer(name, AnswerKind::Legal));
    }
    let answered: EntryRecord = Draft::of(honest).record(place);
    type Leak = fn(&mut EntryRecord, &EntryRecord);
    let leaks: [(&str, Leak); 4] = [
        ("handle", |entry, _| entry.handle = Handle(entry.handle.0 ^ 0x77_0000_0077)),
        ("address", |entry, answered| entry.address = answered.address | 0xfee0_0010),
        ("data", |entry, _| entry.data = 1),
        ("state", |entry, _| entry.state = EntryState::MASKED.bits()),
    ];
    for (field, leak) in leaks {
        let mut draft = failed(sent, honest, place, Status::NO_GSI);
        draft.change(place, |entry| leak(entry, &answered));
        all.push(draft.into_answer(format!("record {place} failed and has a {field}"), AnswerKind::Hostile));
    }
}

/// Statuses that do not fit the call.
fn statuses(sent: &Draft, honest: &Answer, place: usize, all: &mut Vec<Answer>) {
    for status in [Status::PENDING, Status::PARTIAL, Status::ABORTED, Status::NO_GSI, Status(0x7777)] {
        let name = format!("the call is OK, record {place} is {status:?}");
        Draft::add(honest, all, AnswerKind::Hostile, name, |draft| {
            draft.change(place, |entry: &mut EntryRecord| entry.status = status);
        });
    }
    let whole = sent.header.flags & CallFlags::ALL_OR_NOTHING.bits() != 0;
    let others = if whole { [Status::PENDING, Status::OK] } else { [Status::PENDING, Status::ABORTED] };
    for status in others {
        let name = format!("the call failed in part, record {place} is {status:?}");
        let mut draft = failed(sent, honest, place, Status::NO_GSI);
        draft.change(place, |entry: &mut EntryRecord| entry.status = status);
        all.push(draft.into_answer(name, AnswerKind::Hostile));
    }
}

/// In fields that come back changed.
fn echoes(honest: &Answer, operation: Operation, place: usize, all: &mut Vec<Answer>) {
    let mut changes: Vec<Change<EntryRecord>> = Vec::from([
        ("device", (|entry| entry.device = STRANGER) as fn(&mut EntryRecord)),
        ("store", |entry| entry.store.0 ^= 0x100),
        ("index", |entry| entry.index ^= 1),
        ("count", |entry| entry.count ^= 2),
        ("flags", |entry| entry.flags ^= 1 << 31),
    ]);
    if operation != Operation::QUERY {
        let routing: [Change<EntryRecord>; 6] = [
            ("arch", |entry| entry.arch.0 ^= 3),
            ("destination", |entry| entry.routing.destination ^= 1),
            ("vector", |entry| entry.routing.vector ^= 1),
            ("delivery mode", |entry| entry.routing.delivery_mode ^= 1),
            ("hint", |entry| entry.routing.hint ^= 1),
            ("reserved routing", |entry| entry.routing.reserved ^= 1 << 63),
        ];
        changes.extend(routing);
    }
    if operation != Operation::MAP {
        changes.push(("handle", |entry| entry.handle.0 ^= 1 << 40));
    }
    entry_changes(honest, place, "came back changed", changes, all);
}

/// Fields that must be zero.
fn bare(honest: &Answer, place: usize, what: &str, all: &mut Vec<Answer>) {
    let fields: [Change<EntryRecord>; 3] = [
        ("address", |entry| entry.address = 0xfee0_0010),
        ("data", |entry| entry.data = 1),
        ("state", |entry| entry.state = 1),
    ];
    entry_changes(honest, place, &format!("in an answer of {what}"), fields, all);
}

/// Handles, pairs and states that no host answers.
fn answered(honest: &Answer, operation: Operation, place: usize, all: &mut Vec<Answer>) {
    let mut changes: Vec<Change<EntryRecord>> = Vec::from([
        ("no handle", (|entry| entry.handle = Handle::NONE) as fn(&mut EntryRecord)),
        ("no pair", |entry| entry.address = 0),
        ("an address below the window", |entry| entry.address = 0xfedf_fffc),
        ("an address above the window", |entry| entry.address = 0xfef0_0000),
        ("an address beyond 32 bits", |entry| entry.address |= 1 << 32),
        ("an address that is odd", |entry| entry.address |= 1),
        ("an address that is no multiple of 4", |entry| entry.address |= 2),
        ("data beyond 16 bits", |entry| entry.data |= 1 << 16),
        ("an unknown state", |entry| entry.state |= 1 << 31),
        ("an unknown state 8", |entry| entry.state |= 8),
    ]);
    match operation {
        Operation::MAP => changes.push(("parked and not, the other way round", |entry| entry.state ^= 1)),
        Operation::RETARGET => changes.extend::<[Change<EntryRecord>; 4]>([
            ("another pair", |entry| entry.address ^= 1 << 12),
            ("parked and not, the other way round", |entry| entry.state ^= 1),
            ("MASKED", |entry| entry.state |= EntryState::MASKED.bits()),
            ("EXISTING", |entry| entry.state |= EntryState::EXISTING.bits()),
        ]),
        _ => changes.extend::<[Change<EntryRecord>; 6]>([
            ("MASKED", |entry| entry.state |= EntryState::MASKED.bits()),
            ("another architecture", |entry| entry.arch = Arch::ARM_ITS),
            ("an exception's vector", |entry| entry.routing.vector = 31),
            ("unknown bits of the hint", |entry| entry.routing.hint = 2),
            ("a reserved byte", |entry| entry.routing.reserved = 1 << 56),
            ("parked with a routing", |entry| entry.state = EntryState::PARKED.bits()),
        ]),
    }
    let first: EntryRecord = Draft::of(honest).record(place);
    if operation == Operation::MAP && first.store == Store::MSIX {
        changes.push(("not MASKED", |entry| entry.state &= !EntryState::MASKED.bits()));
    }
    if first.count > 1 {
        changes.push(("data that is not aligned", |entry| entry.data |= 1));
    }
    entry_changes(honest, place, "", changes, all);
}

/// What two entries must not share.
fn doubles(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    let first: EntryRecord = Draft::of(honest).record(0);
    Draft::add(honest, all, AnswerKind::Hostile, "two entries with one handle", |draft| {
        draft.change(1, |entry: &mut EntryRecord| entry.handle = first.handle);
    });
    let same_device = sent.record::<EntryRecord>(1).device == first.device;
    let kind = if same_device { AnswerKind::Hostile } else { AnswerKind::Legal };
    Draft::add(honest, all, kind, "two entries with one pair", |draft| {
        draft.change(1, |entry: &mut EntryRecord| (entry.address, entry.data) = (first.address, first.data));
    });
}

fn entry_changes(
    honest: &Answer,
    place: usize,
    what: &str,
    changes: impl IntoIterator<Item = Change<EntryRecord>>,
    all: &mut Vec<Answer>,
) {
    for (field, change) in changes {
        let name: String = format!("record {place}: {field} {what}");
        Draft::add(honest, all, AnswerKind::Hostile, name, |draft| draft.change(place, change));
    }
}
