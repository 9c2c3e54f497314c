//! Conduits that are advertised and do not work.

use pvir_abi::{Conduits, Discovery, Status};

use super::Change;
use super::block::Block;
use crate::list::Wrong;

/// An MSR of the range that the contract has for it, and that this VMM does not serve.
const OTHER_MSR: u32 = 0x5056_00ff;

/// CPUID says more than the machine does.
pub(super) struct FalseConduits(pub(super) Wrong);

impl Change for FalseConduits {
    fn discovery(&self, discovery: Discovery) -> Discovery {
        match self.0 {
            Wrong::MsrFaults => discovery.with_msr(OTHER_MSR),
            // The guest knows which of the two its CPU has.
            _ => discovery.with_conduits(Conduits::VMCALL | Conduits::VMMCALL),
        }
    }
}

/// The status stands elsewhere than where it belongs.
pub(super) struct Elsewhere(pub(super) Wrong);

impl Change for Elsewhere {
    fn writes(&self, answer: &Block) -> bool {
        self.0 != Wrong::HeaderUnwritten || answer.header.status != Status::BAD_ADDRESS
    }

    fn asks_of(&self, vcpu: usize) -> Option<usize> {
        (self.0 != Wrong::StatusOfAnother).then_some(vcpu)
    }
}
