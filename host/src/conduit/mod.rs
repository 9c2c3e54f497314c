//! The ways by which a guest calls the service, as a VMM on KVM opens and serves them: a VMCALL or VMMCALL that KVM hands
//! over, an MSR, an I/O port (`docs/abi.md`, "Conduits").
//!
//! A VMM does four things:
//!
//! 1. It opens the conduits of its VM ([`open`], or the parts of it), and gives what was opened to [`Config::new`].
//! 2. It adds the signature block to the CPUID of each vCPU ([`add_signature_block`]), and hides what KVM no longer
//!    serves where hypercalls are intercepted ([`hide_kvm_hypercalls`]).
//! 3. It asks for each exit of a vCPU whether it is a call, and has it served: [`VcpuConduits`] where the vCPU is one of
//!    [`kvm_ioctls`], [`RunPage`] and [`Calls::serve`] where the VMM has mapped `kvm_run` itself, and the functions of
//!    [`Calls`] that take plain values where the VMM has decoded the exit.
//! 4. It names a vCPU by its index in [`Config::apic_ids`].

mod calls;
mod cpuid;
mod error;
mod open;
mod run_page;
mod vcpu;

pub use calls::{Calls, Handled, Hypercalls};
pub use cpuid::{add_signature_block, free_block, hide_kvm_hypercalls, hypercall_of, hypercall_of_vendor};
pub use error::ConduitError;
pub use open::{
    MSR_EXIT_REASON, exit_on_msr, forward_hypercall, intercept_hypercalls, msr_filter_range, open,
};
pub use run_page::{Direction, Exit, Hypercall, PortAccess, RunPage, RunSize};
pub use vcpu::{Privilege, VcpuConduits};

use crate::service::Config;
use pvir_abi::Conduits;

/// The MSR that [`open`] opens for [`Conduits::MSR`], and that a [`Config`] has by itself.
pub const MSR: u32 = Config::MSR;
/// The I/O port for [`Conduits::PORT`] that a [`Config`] has by itself.
pub const PORT: u16 = Config::PORT;

/// The conduits by an instruction that KVM hands over, whether it intercepts all of them or forwards one number.
pub const HYPERCALLS: Conduits = Conduits::VMCALL.union(Conduits::VMMCALL);

/// What KVM answers in RAX to a hypercall that does not exist: -KVM_ENOSYS.
pub const NO_SUCH_CALL: u64 = 0_u64.wrapping_sub(1000);
