//! The ways by which a guest calls the service: an intercepted VMCALL or VMMCALL, an MSR, a port.
//!
//! All lead to one [`Hypercalls::call`]. The numbers here are this VMM's choice; a guest reads them from the signature
//! block, in which only conduits that work on this host are advertised.

use pvir_abi::{Discovery, GuestPhysAddr, Status};

/// The 32-bit port. Free on every PC, and aligned.
pub(crate) const PORT: u16 = 0x5058;
/// The MSR. KVM has 0x4b564d00 to 0x4b564dff, Hyper-V and Xen have 0x40000000 and up.
pub(crate) const MSR: u32 = 0x5056_0000;

/// What KVM answers to a hypercall that does not exist: -KVM_ENOSYS.
pub(crate) const NO_SUCH_CALL: u64 = 0_u64.wrapping_sub(1000);

/// The service, as the machine sees it. A vCPU is named by its index, not by its APIC id.
pub trait Hypercalls: Send + Sync {
    /// What the signature block of CPUID says of the service.
    fn discovery(&self) -> Discovery;

    /// Serves the request block at `block` for a caller at privilege level `cpl`. Gives the status of the whole call.
    fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status;

    /// The status of the last call of a vCPU.
    fn last_status(&self, vcpu: usize) -> Status;

    /// Whether an access of `bytes` bytes to the port reaches the service (`docs/abi.md`, statement C5). Any other goes
    /// where accesses to ports go at which nothing is.
    fn takes_port_access(&self, bytes: u8) -> bool {
        bytes == 4
    }
}
