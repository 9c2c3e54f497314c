//! Counts of calls by operation and status, kept without a lock.

use pvir_abi::{Operation, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Room for every operation of the contract, and one for all others.
const OPERATIONS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Statistics {
    operations: [AtomicU64; OPERATIONS],
    ok: AtomicU64,
    partial: AtomicU64,
    refused: AtomicU64,
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
    /// Log lines that the guest has caused, those beyond the limit included, which were not written.
    pub log_lines: u64,
}
