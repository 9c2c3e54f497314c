//! The MSR conduit: `WRMSR` of the block's address makes the call, `RDMSR` reads the status of this vCPU's last call.
#![expect(unsafe_code, reason = "writes and reads a model-specific register")]

use super::{Conduit, status_of};
use pvir_abi::{GuestPhysAddr, Status, is_conduit_msr};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::Msr;

/// The conduit of the MSR that the host advertises.
#[derive(Clone, Copy, Debug)]
pub struct MsrConduit {
    index: u32,
}

impl MsrConduit {
    /// The conduit of the MSR `index`, which is [`Discovery::msr`](crate::abi::Discovery::msr). `None` if the contract
    /// does not leave that MSR to the host (statement D5): it may be one that means something else.
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        if is_conduit_msr(index) { Some(Self { index }) } else { None }
    }
}

impl Conduit for MsrConduit {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let mut msr = Msr::new(self.index);
        // The status is that of this vCPU's last call: nothing may come between, nor move us to another vCPU.
        without_interrupts(|| {
            // SAFETY: the contract keeps this MSR for calls (`new` checked it) and the host advertises it, so the write
            // does not fault at CPL 0 and has no other effect than the call; the memory that it changes is the block,
            // which is the caller's to give, and the event area.
            unsafe { msr.write(block.0) };
            // SAFETY: the same MSR; reading it has no effect.
            status_of(unsafe { msr.read() })
        })
    }
}
