//! Handles whose generation means nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pvir_abi::{Handle, Operation, Status};

use super::block::Block;
use super::{Change, HonestService};

/// The generation that every handle has on a host that knows no other.
const ONLY_GENERATION: u32 = 1;

/// The handle that the service has given last for each slot.
#[derive(Default)]
struct Newest(Mutex<BTreeMap<u32, Handle>>);

impl Newest {
    /// Calls with each handle replaced by the newest of its slot, if `replace` says so.
    fn call(&self, request: &Block, service: &HonestService<'_>, replace: impl Fn(Handle) -> bool) -> Block {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = service.call_changed(request, |request| {
            request.each_entry(|record| {
                if let Some(handle) = newest.get(&record.handle.slot()).filter(|_| replace(record.handle)) {
                    record.handle = *handle;
                }
            });
        });
        if answer.answers(Operation::MAP) {
            answer.each_entry(|record| {
                if record.status == Status::OK {
                    newest.insert(record.handle.slot(), record.handle);
                }
            });
        }
        answer
    }
}

/// A slot's handle is the same each time.
#[derive(Default)]
pub(super) struct HandleAgain(Newest);

impl Change for HandleAgain {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = self.0.call(request, service, |handle| handle.generation() == ONLY_GENERATION);
        if answer.answers(Operation::MAP) || answer.answers(Operation::QUERY) {
            answer.each_entry(|record| {
                if record.status == Status::OK {
                    record.handle = Handle::new(record.handle.slot(), ONLY_GENERATION);
                }
            });
        }
        answer
    }
}

/// Any generation names the slot's entry.
#[derive(Default)]
pub(super) struct GenerationIgnored(Newest);

impl Change for GenerationIgnored {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        self.0.call(request, service, |handle| handle != Handle::NONE)
    }
}

/// Handles that a host with so many slots and no generation gives, one slot after the other.
const SLOTS: u64 = 100;

/// A handle is the number of a slot, and each MAP takes the next one.
#[derive(Default)]
pub(super) struct HandlesInTurn(Mutex<Turn>);

#[derive(Default)]
struct Turn {
    given: u64,
    /// The service's handle by the one that the guest was given for it.
    of_service: BTreeMap<Handle, Handle>,
}

impl Turn {
    fn give(&mut self, handle: Handle) -> Handle {
        let known = self.of_service.iter().find(|(_, of_service)| **of_service == handle);
        if let Some((given, _)) = known {
            return *given;
        }
        let given = Handle(1 + self.given % SLOTS);
        self.given += 1;
        self.of_service.insert(given, handle);
        given
    }
}

impl Change for HandlesInTurn {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = service.call_changed(request, |request| {
            request.each_entry(|record| {
                if let Some(handle) = turn.of_service.get(&record.handle) {
                    record.handle = *handle;
                }
            });
        });
        if answer.answers(Operation::MAP) || answer.answers(Operation::QUERY) {
            answer.each_entry(|record| {
                if record.status == Status::OK {
                    record.handle = turn.give(record.handle);
                }
            });
        }
        answer
    }
}
