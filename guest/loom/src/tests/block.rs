//! The request block is one call's alone.

use super::orders;
use crate::BlockMemory;
use crate::lock::{BlockLock, SpinBlock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The lock is a spin lock of another crate in the driver, and loom's here: what is shown is that a call has it from its
/// first access of the block to its last.
#[test]
fn a_call_has_the_block_until_it_returns() {
    orders(|| {
        let block = Arc::new(SpinBlock::new(BlockMemory(UnsafeCell::new(0))));
        let call = |lock: &SpinBlock| {
            lock.with_block(|block| {
                // loom fails if another call has it meanwhile.
                block.0.with_mut(|_| ());
                thread::yield_now();
                block.0.with_mut(|_| ());
            });
        };
        let other = Arc::clone(&block);
        let thread = thread::spawn(move || call(&other));
        call(&block);
        thread.join().unwrap();
    });
}
