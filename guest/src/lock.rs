//! Who may use a request block when: the seam between a call and the kernel's own locks.

use crate::BlockMemory;
use crate::sync::Mutex;

/// How a call gets a request block that nobody else uses until the call has returned.
///
/// The default is [`SpinBlock`]: one block under a spin lock. With it, an interrupt handler must not call if it can
/// interrupt a call on the same CPU, because it would wait for what it has interrupted. A kernel that calls from
/// interrupt handlers, or under a lock that is taken with interrupts off (as Linux calls `irq_set_affinity`), brings a
/// lock of its own to [`Pvir::negotiate_with`](crate::Pvir::negotiate_with):
///
/// - one block under a lock that turns interrupts off, or
/// - one block for each CPU, used with interrupts off. Calls of several CPUs then reach the host at the same time
///   (statement C6).
///
/// The blocks need not have the same size: a batch is split by the block that it gets.
///
/// # One block, interrupts off
///
/// ```
/// # mod cpu { pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R { f() } }
/// use pvir_guest::{BlockLock, BlockMemory};
///
/// struct IrqSafeBlock(spin::Mutex<BlockMemory>);
///
/// impl BlockLock for IrqSafeBlock {
///     fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
///         cpu::without_interrupts(|| call(&mut self.0.lock()))
///     }
/// }
/// ```
///
/// # One block for each CPU
///
/// ```
/// # mod cpu {
/// #     pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R { f() }
/// #     pub fn number() -> usize { 0 }
/// # }
/// use pvir_guest::{BlockLock, BlockMemory};
///
/// struct BlockOfEachCpu<const CPUS: usize>([spin::Mutex<BlockMemory>; CPUS]);
///
/// impl<const CPUS: usize> BlockLock for BlockOfEachCpu<CPUS> {
///     fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
///         // With interrupts off nobody moves us to another CPU, and nobody else has this one's block: the lock is
///         // always free. It is there because it makes a `&mut` without unsafe code.
///         cpu::without_interrupts(|| call(&mut self.0[cpu::number()].lock()))
///     }
/// }
/// ```
pub trait BlockLock {
    /// Runs `call` with a block that nobody else uses until it returns. It takes as long as the host takes for a call.
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R;
}

impl<L: BlockLock + ?Sized> BlockLock for &L {
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
        (**self).with_block(call)
    }
}

/// One block under a spin lock: calls wait for one another.
#[derive(Debug)]
pub struct SpinBlock(Mutex<BlockMemory>);

impl SpinBlock {
    /// The lock around `block`.
    #[must_use]
    pub const fn new(block: BlockMemory) -> Self {
        Self(Mutex::new(block))
    }
}

impl BlockLock for SpinBlock {
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
        call(&mut self.0.lock())
    }
}
