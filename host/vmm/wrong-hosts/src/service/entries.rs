//! Operations on entries that do less, or more, than they say.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pvir_abi::{CallFlags, EntryRecord, EntryState, Handle, Operation, Status};

use super::block::Block;
use super::{Change, HonestService};

/// A handle that the service has never given.
const NEVER_GIVEN: Handle = Handle(u64::MAX);

/// MAP with ALL_OR_NOTHING maps what it can and says that it did nothing.
pub(super) struct NotUndone;

impl Change for NotUndone {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let whole = CallFlags::ALL_OR_NOTHING.bits();
        if request.header.operation != Operation::MAP || request.header.flags & whole == 0 {
            return service.call(request);
        }
        let mut answer = service.call_changed(request, |request| request.header.flags &= !whole);
        if answer.header.status == Status::PARTIAL {
            answer.header.status = Status::ABORTED;
            answer.header.done = 0;
            answer.each_entry(|record| {
                if record.status == Status::OK {
                    clear_answer(record);
                    record.handle = Handle::NONE;
                    record.status = Status::ABORTED;
                }
            });
        }
        answer
    }
}

/// UNMAP looks the entry up, says that it is given back, and leaves it as it is. Its handle is stale from then on.
#[derive(Default)]
pub(super) struct PairLeftAlive {
    given_back: Mutex<BTreeSet<Handle>>,
}

impl Change for PairLeftAlive {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let unmap = request.header.operation == Operation::UNMAP;
        let mut answer = service.call_changed(request, |request| {
            request.each_entry(|record| {
                // A QUERY would take no handle for any.
                let none = unmap && record.handle == Handle::NONE;
                if none || given_back.contains(&record.handle) {
                    record.handle = NEVER_GIVEN;
                }
            });
            if unmap {
                request.header.operation = Operation::QUERY;
                request.header.flags = 0;
            }
        });
        if answer.answers(Operation::UNMAP) {
            answer.each_entry(|record| {
                clear_answer(record);
                if record.status == Status::OK {
                    given_back.insert(record.handle);
                }
            });
        }
        answer
    }
}

/// QUERY gives the entries back that it has answered.
pub(super) struct QueryChangesState;

impl Change for QueryChangesState {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        let mut found = Vec::new();
        if answer.answers(Operation::QUERY) {
            answer.each_entry(|record| {
                let EntryRecord { device, store, index, count, handle, .. } = *record;
                if record.status == Status::OK {
                    found.push(EntryRecord { count, handle, ..EntryRecord::query(device, store, index) });
                }
            });
        }
        if !found.is_empty() {
            service.call(&Block::request(&request.header, Operation::UNMAP, &found));
        }
        answer
    }
}

/// QUERY knows every handle that the guest has not given back, whatever events have said.
#[derive(Default)]
pub(super) struct StaleKnown {
    given: Mutex<BTreeSet<Handle>>,
}

impl Change for StaleKnown {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = service.call(request);
        let operation = answer.header.operation;
        if answer.is_answered() {
            answer.each_entry(|record| match (operation, record.status) {
                (Operation::MAP, Status::OK) => _ = given.insert(record.handle),
                (Operation::UNMAP, Status::OK) => _ = given.remove(&record.handle),
                (Operation::QUERY, Status::STALE_HANDLE) if given.contains(&record.handle) => {
                    record.status = Status::OK;
                }
                _ => {}
            });
        }
        answer
    }
}

fn clear_answer(record: &mut EntryRecord) {
    record.address = 0;
    record.data = 0;
    record.state = EntryState::empty().bits();
}
