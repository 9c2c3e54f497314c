//! Devices that come while pvir is enabled.
//!
//! What stands before the service hears of no device. It takes one for gone that an answer calls DEVICE_GONE, and for come
//! again when another answer of the same session does not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pvir_abi::{AttachRecord, DeviceId, Operation, Status};

use super::attaching::say_ok;
use super::block::Block;
use super::{Change, HonestService};
use crate::list::Wrong;

/// Devices that come in a session are treated as this host does.
pub(super) struct Coming {
    wrong: Wrong,
    session: Mutex<Session>,
}

/// What the answers of a session have said.
#[derive(Default)]
struct Session {
    gone: BTreeSet<DeviceId>,
    come: BTreeSet<DeviceId>,
    /// How often one has come.
    comings: u64,
}

impl Session {
    /// Takes an answer in. Answers with the devices that have come by it.
    fn take_in(&mut self, answer: &mut Block) -> Vec<DeviceId> {
        let turns = [Operation::ENABLE, Operation::DISABLE].contains(&answer.header.operation);
        if turns && answer.header.status == Status::OK {
            *self = Self::default();
        }
        if !answer.is_answered() {
            return Vec::new();
        }
        let mut said = Vec::new();
        answer.each_entry(|record| said.push((record.device, record.status)));
        answer.each_device(|record| said.push((record.device, record.status)));
        answer.each_attach(|record| said.push((record.device, record.status)));
        let mut come = Vec::new();
        for (device, status) in said {
            if status == Status::DEVICE_GONE {
                self.gone.insert(device);
                self.come.remove(&device);
            } else if self.gone.remove(&device) {
                self.come.insert(device);
                self.comings += 1;
                come.push(device);
            }
        }
        come
    }
}

impl Coming {
    pub(super) fn new(wrong: Wrong) -> Self {
        Self { wrong, session: Mutex::default() }
    }
}

impl Change for Coming {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = service.call(request);
        let come = session.take_in(&mut answer);
        match self.wrong {
            Wrong::ComesAttached => {
                let records: Vec<_> = come.into_iter().map(AttachRecord::request).collect();
                if !records.is_empty() {
                    service.call(&Block::request(&request.header, Operation::ATTACH, &records));
                }
                if answer.answers(Operation::ATTACH) && !session.come.is_empty() {
                    say_ok(&mut answer, Status::ALREADY_ATTACHED);
                }
            }
            Wrong::ComingIsAnEvent if answer.header.epoch != 0 => {
                answer.header.epoch += session.comings;
            }
            Wrong::GoneOutlasts => answer.each_entry(|record| {
                if record.status == Status::STALE_HANDLE && session.come.contains(&record.device) {
                    record.status = Status::DEVICE_GONE;
                }
            }),
            _ => {}
        }
        answer
    }
}
