//! A limit that counts calls, and refuses what must never be refused.

use std::sync::atomic::{AtomicU32, Ordering};

use pvir_abi::{Operation, Status};

use super::block::Block;
use super::{Change, HonestService};

/// RETARGETs of one record that a session has before the next one is refused.
pub(super) const ALLOWED: u32 = 32;

/// Refuses a RETARGET of one record once there were many in a session.
#[derive(Default)]
pub(super) struct OneRetargetRefused {
    made: AtomicU32,
}

impl Change for OneRetargetRefused {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let answer = service.call(request);
        if request.header.operation == Operation::ENABLE {
            self.made.store(0, Ordering::Relaxed);
        }
        let one = request.header.operation == Operation::RETARGET && request.header.count == 1;
        if !one || !answer.is_answered() || self.made.fetch_add(1, Ordering::Relaxed) < ALLOWED {
            return answer;
        }
        let mut refused = request.with_status(Status::RATE_LIMITED);
        refused.header.epoch = answer.header.epoch;
        refused
    }
}
