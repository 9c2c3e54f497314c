//! How much of the host a guest may take by what it does to its interrupts.
//!
//! A VM has a [`TokenBucket`] of nominal time ([`Cost`](crate::work::Cost)). What is done for the VM is charged to it
//! when it has been done, whoever did it: a call, an access to a trapped store, or the thread that attaches and detaches
//! irqfds beside them. A VM whose bucket is in debt pays in one of two ways (O7):
//!
//! - ENABLE, ATTACH, MAP, and a RETARGET of several records are answered with RATE_LIMITED, before anything is done.
//! - All else is done, and the vCPU that did it waits afterwards, without the VM's lock: until the debt is paid, and
//!   [`RateLimit::MAX_DELAY`] at most. A guest's kernel makes a RETARGET of one record under a raw lock, and must be able to give
//!   back what it has: neither is ever refused.

mod bucket;
mod charging;
mod clock;
mod limit;

pub(super) use bucket::TokenBucket;
pub use clock::Clock;
pub(super) use clock::SystemClock;
pub use limit::RateLimit;

use pvir_abi::{Header, Operation};

/// Whether a call may be answered with RATE_LIMITED.
pub(super) fn may_be_refused(header: &Header) -> bool {
    match header.operation {
        Operation::ENABLE | Operation::ATTACH | Operation::MAP => true,
        Operation::RETARGET => header.count > 1,
        _ => false,
    }
}
