//! Routings that are taken for others, and parking that nobody has asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pvir_abi::{
    DeliveryMode, DestinationMode, EntryRecord, EntryState, Features, Handle, Operation, Routing, Status,
};

use super::block::Block;
use super::{Change, HonestService};

/// PARKING is enabled with whatever else is; the guest is told what it took.
#[derive(Default)]
pub(super) struct ParkingUntaken {
    taken: Mutex<u64>,
}

impl Change for ParkingUntaken {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut taken = 0;
        let mut answer = service.call_changed(request, |request| {
            request.each_enable(|record| {
                taken = record.features;
                record.features |= Features::PARKING.bits();
            });
        });
        let mut last = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.answers(Operation::ENABLE) {
            *last = taken;
        }
        answer.each_features(|record| {
            if record.enabled != 0 {
                record.enabled = *last;
            }
        });
        answer
    }
}

/// Where the host has the choice it takes the member with the lowest id. QUERY says what was asked for.
#[derive(Default)]
pub(super) struct LowestMember {
    asked: Mutex<BTreeMap<Handle, Routing>>,
}

/// The routing to the lowest member alone, where the choice is the host's.
fn lowest(routing: Routing) -> Routing {
    let chosen = routing.delivery_mode == DeliveryMode::LOWEST_PRIORITY.0 || routing.hint & 1 != 0;
    let members = routing.destination & 0xffff;
    if !chosen || routing.destination_mode != DestinationMode::LOGICAL.0 || members == 0 {
        return routing;
    }
    let first = members & members.wrapping_neg();
    Routing { destination: routing.destination & !0xffff | first, ..routing }
}

impl Change for LowestMember {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = matches!(request.header.operation, Operation::MAP | Operation::RETARGET);
        let mut answer = service.call_changed(request, |request| {
            if routes {
                request.each_entry(|record| record.routing = lowest(record.routing));
            }
        });
        let query = answer.answers(Operation::QUERY);
        answer.each_entry(|record| {
            if record.status != Status::OK {
                return;
            }
            if routes {
                asked.insert(record.handle, record.routing);
            } else if let Some(routing) = asked.get(&record.handle).filter(|_| query && record.state == 0) {
                record.routing = *routing;
            }
        });
        answer
    }
}

/// MAP of a mapped entry with another routing to the same vCPU and vector answers as if it were the same.
pub(super) struct ResolvesAlike;

impl Change for ResolvesAlike {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        if !answer.answers(Operation::MAP) {
            return answer;
        }
        let mut done = 0;
        answer.each_entry(|record| {
            if record.status == Status::ALREADY_MAPPED {
                alike(record, request, service);
            }
            done += u32::from(record.status == Status::OK);
        });
        answer.header.done = done;
        if done == answer.header.count {
            answer.header.status = Status::OK;
        }
        answer
    }
}

/// Answers the record of a MAP from what its entry has, if the vector is the same.
fn alike(record: &mut EntryRecord, request: &Block, service: &HonestService<'_>) {
    let EntryRecord { device, store, index, count, .. } = *record;
    let name = EntryRecord { count, ..EntryRecord::query(device, store, index) };
    let vector = record.routing.vector;
    service.call(&Block::request(&request.header, Operation::QUERY, &[name])).each_entry(|held| {
        if (held.status, held.routing.vector) == (Status::OK, vector) {
            let EntryRecord { handle, address, data, .. } = *held;
            let state = EntryState::EXISTING.bits();
            *record = EntryRecord { status: Status::OK, handle, address, data, state, ..*record };
        }
    });
}
