//! ENABLE and DISABLE, and the epoch.

use std::sync::atomic::{AtomicBool, Ordering};

use pvir_abi::{EnableRecord, EventArea, FeaturesRecord, GuestPhysAddr, Operation, Status};

use super::block::Block;
use super::{Change, HonestService};

/// An ENABLE while enabled begins another session; the one before is ended.
pub(super) struct EnabledTwice;

impl Change for EnabledTwice {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        if request.header.operation == Operation::ENABLE {
            // Where there is no session the service says so, and nobody hears it.
            service.call(&Block::request::<EnableRecord>(&request.header, Operation::DISABLE, &[]));
        }
        service.call(request)
    }
}

/// Every session has the same epoch, in headers and in the event area.
pub(super) struct EpochNotRaised;

impl EpochNotRaised {
    const ONLY_EPOCH: u64 = 1;
}

impl Change for EpochNotRaised {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        if answer.header.epoch != 0 {
            answer.header.epoch = Self::ONLY_EPOCH;
        }
        if answer.header.status == Status::OK {
            answer.each_enable(|record| {
                let at = GuestPhysAddr(record.event_area.0 + std::mem::offset_of!(EventArea, epoch) as u64);
                if record.event_area != GuestPhysAddr(0) {
                    // It was RAM when the service wrote it.
                    let _ = service.guest_ram().write(at, &Self::ONLY_EPOCH.to_le_bytes());
                }
            });
        }
        answer
    }
}

/// DISABLE ends the session in name only: the service is not told, and keeps the entries. The next ENABLE goes on with
/// them.
#[derive(Default)]
pub(super) struct DisableKeeps {
    disabled: AtomicBool,
}

impl DisableKeeps {
    fn is_enabled(&self, request: &Block, service: &HonestService<'_>) -> bool {
        let asked = Block::request(&request.header, Operation::FEATURES, &[FeaturesRecord::request()]);
        let mut enabled = false;
        service.call(&asked).each_features(|record| enabled = record.enabled != 0);
        enabled && !self.disabled.load(Ordering::Relaxed)
    }
}

impl Change for DisableKeeps {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        if request.header.operation == Operation::DISABLE && self.is_enabled(request, service) {
            self.disabled.store(true, Ordering::Relaxed);
            let mut answer = request.with_status(Status::OK);
            answer.header.epoch = 0;
            return answer;
        }
        let mut answer = service.call(request);
        if !self.disabled.load(Ordering::Relaxed) {
            return answer;
        }
        if request.header.operation == Operation::ENABLE && answer.header.status == Status::ALREADY_ENABLED {
            self.disabled.store(false, Ordering::Relaxed);
            answer.header.status = Status::OK;
            answer.header.done = 1;
            answer.each_enable(|record| record.status = Status::OK);
        } else {
            answer.header.epoch = 0;
            answer.each_features(|record| record.enabled = 0);
        }
        answer
    }
}
