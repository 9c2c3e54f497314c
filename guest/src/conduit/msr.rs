//! The MSR conduit: `WRMSR` of the block's address makes the call, `RDMSR` reads the status of this vCPU's last call.
#![expect(unsafe_code, reason = "writes and reads a model-specific register")]

use super::{Conduit, status_of};
use pvir_abi::{GuestPhysAddr, Status};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::Msr;

/// The conduit of the MSR that the host advertises.
#[derive(Clone, Copy, Debug)]
pub struct MsrConduit {
    index: u32,
}

impl MsrConduit {
    /// The conduit of the MSR `index`, which is [`Discovery::msr`](crate::abi::Discovery::msr).
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self { index }
    }
}

impl Conduit for MsrConduit {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let mut msr = Msr::new(self.index);
        // The status is that of this vCPU's last call: nothing may come between, nor move us to another vCPU.
        without_interrupts(|| {
            // SAFETY: the host advertises this MSR, so the write does not fault at CPL 0 and has no other effect than
            // the call; the memory that it changes is the block, which is the caller's to give, and the event area.
            unsafe { msr.write(block.0) };
            // SAFETY: the same MSR; reading it has no effect.
            status_of(unsafe { msr.read() })
        })
    }
}
