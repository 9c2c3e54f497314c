//! Counts of calls by operation and status, kept without a lock.

use pvir_abi::{Operation, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Room for every operation of the contract, and one for all others.
const OPERATIONS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Statistics {
    operations: [AtomicU64; OPERATIONS],
    ok: AtomicU64,
    partial: AtomicU64,
    refused: AtomicU64,
    rate_limited: AtomicU64,
    delayed: AtomicU64,
    delayed_microseconds: AtomicU64,
    storms: AtomicU64,
}

impl Statistics {
    pub(super) fn count_operation(&self, operation: Operation) {
        let known = Operation::ALL.iter().position(|(known, _)| *known == operation);
        self.operations[known.unwrap_or(OPERATIONS - 1)].fetch_add(1, Relaxed);
    }

    pub(super) fn count_call(&self, status: Status) {
        let counter = match status {
            Status::OK => &self.ok,
            Status::PARTIAL => &self.partial,
            _ => &self.refused,
        };
        counter.fetch_add(1, Relaxed);
        if status == Status::RATE_LIMITED {
            self.rate_limited.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_delay(&self, delay: Duration) {
        self.delayed.fetch_add(1, Relaxed);
        let microseconds = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delayed_microseconds.fetch_add(microseconds, Relaxed);
    }

    pub(super) fn count_storm(&self) {
        self.storms.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self, log_lines: u64) -> ServiceStatistics {
        let names = Operation::ALL.iter().map(|(_, name)| *name).chain(std::iter::once("unknown"));
        let counts = self.operations[..Operation::ALL.len()].iter().chain(self.operations.last());
        ServiceStatistics {
            operations: names
                .zip(counts)
                .map(|(name, n)| (name, n.load(Relaxed)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            ok: self.ok.load(Relaxed),
            partial: self.partial.load(Relaxed),
            refused: self.refused.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            delayed_microseconds: self.delayed_microseconds.load(Relaxed),
            storms: self.storms.load(Relaxed),
            log_lines,
        }
    }
}

/// Counts of a VM's calls since the service was made.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ServiceStatistics {
    /// Calls whose header could be read, by the name of the operation.
    pub operations: BTreeMap<&'static str, u64>,
    /// Calls with status OK.
    pub ok: u64,
    /// Calls with status PARTIAL.
    pub partial: u64,
    /// Calls with any other status.
    pub refused: u64,
    /// Those of them with status RATE_LIMITED.
    pub rate_limited: u64,
    /// Calls and accesses to trapped stores after which a vCPU had to wait, because the guest takes more of the host than
    /// [`RateLimit`](super::RateLimit) says.
    pub delayed: u64,
    /// For how long all of these waited, in microseconds.
    pub delayed_microseconds: u64,
    /// How often a device was cut off because it raised more interrupts than [`StormLimit`](super::StormLimit) says.
    pub storms: u64,
    /// Log lines that the guest has caused, those beyond the limit included, which were not written.
    pub log_lines: u64,
}
