//! The parts of `pvir-guest` that several CPUs use without a lock, and its lock, in every order of their steps.
//!
//! The crate `loom` runs a test once for each order in which the threads can take their steps, and for each
//! value that a load may see by the memory model of C11. The files are those of the driver, compiled a second time: what
//! they use of other CPUs is `crate::sync`, which here is loom's. The driver itself knows nothing of it.
//!
//! Two threads, or three where the third is what breaks it; three preemptions at most (`LOOM_MAX_PREEMPTIONS` says
//! otherwise), which is what is known to find nearly all that there is to be found.

#![forbid(unsafe_code)]

#[cfg(test)]
mod sync {
    pub(crate) use loom::sync::Mutex as Locked;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::sync::OnceLock;

    /// loom's lock with the interface of a spin lock, which is made in a `const fn`: loom's is made at the first use.
    #[derive(Debug)]
    pub(crate) struct Mutex<T> {
        first: std::sync::Mutex<Option<T>>,
        lock: OnceLock<Locked<T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { first: std::sync::Mutex::new(Some(value)), lock: OnceLock::new() }
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            let first = || Locked::new(self.first.lock().unwrap().take().unwrap());
            self.lock.get_or_init(first).lock().unwrap()
        }
    }
}

#[cfg(test)]
#[path = "../../src/claims/words.rs"]
mod words;

#[cfg(test)]
mod ledger;

#[cfg(test)]
#[path = "../../src/lock.rs"]
mod lock;

/// In place of the request block, whose memory the driver reaches by pointers: loom sees whether it is one call's alone.
#[cfg(test)]
#[derive(Debug)]
pub struct BlockMemory(loom::cell::UnsafeCell<u32>);

#[cfg(test)]
mod tests;
