//! What several CPUs do to the same memory is done with these, and with nothing else.
//!
//! The files that do so (`claims/words.rs`, `ledger/set.rs`, `ledger/notes.rs`, `lock.rs`) are compiled a second time in
//! `loom/`, where this module is one of types of the same names whose orders are all tried.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use spin::Mutex;
