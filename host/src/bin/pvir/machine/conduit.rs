//! The ways by which a guest calls the service: an intercepted VMCALL, an MSR, a port.
//!
//! All lead to one [`Hypercalls::call`]. The numbers here are this VMM's choice; a guest reads them from the signature
//! block, in which only conduits that work on this host are advertised.

use serde::Serialize;

/// 32-bit port: OUT of the request block's address divided by 4096 calls, IN gives the status of this vCPU's last call.
pub(crate) const PORT: u16 = 0x5058;
/// WRMSR of the request block's address calls, RDMSR gives the status. KVM has 0x4b564d00 to 0x4b564dff, Hyper-V and Xen
/// have 0x40000000 and up.
pub(crate) const MSR: u32 = 0x5056_0000;
/// rax of VMCALL and VMMCALL; rdi is the request block's address. Bit 31 is Hyper-V's in KVM, and KVM's own numbers are
/// small.
pub(crate) const CALL: u64 = 0x5056_4952;

/// What KVM answers to a hypercall that nobody knows: -KVM_ENOSYS.
pub(crate) const NO_SUCH_CALL: u64 = 0_u64.wrapping_sub(1000);

/// A way into the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduit {
    Vmcall,
    Msr,
    Port,
}

/// Which conduits work on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Conduits {
    pub(crate) vmcall: bool,
    pub(crate) msr: bool,
    pub(crate) port: bool,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Index of the vCPU, not its APIC id.
    pub(crate) vcpu: usize,
    /// Privilege level; the service refuses any but 0.
    pub(crate) cpl: u8,
    pub(crate) conduit: Conduit,
}

/// One CPUID leaf of the signature block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignatureLeaf {
    pub(crate) leaf: u32,
    pub(crate) eax: u32,
    pub(crate) ebx: u32,
    pub(crate) ecx: u32,
    pub(crate) edx: u32,
}

/// The service, as the vCPUs see it.
pub(crate) trait Hypercalls: Send + Sync {
    /// The signature block at `base`; empty if the service is not offered.
    fn signature(&self, base: u32, conduits: Conduits) -> Vec<SignatureLeaf>;

    /// Serves the request block at guest physical address `block`. Gives the status of the whole call.
    fn call(&self, caller: Caller, block: u64) -> u32;

    /// What reading the status gives on a vCPU that has not called yet.
    fn status_before_first_call(&self) -> u32;
}

/// A machine without the service.
pub(crate) struct NoService;

impl Hypercalls for NoService {
    fn signature(&self, _base: u32, _conduits: Conduits) -> Vec<SignatureLeaf> {
        Vec::new()
    }

    fn call(&self, caller: Caller, block: u64) -> u32 {
        tracing::debug!(?caller, block = format_args!("{block:#x}"), "call without a service");
        u32::MAX
    }

    fn status_before_first_call(&self) -> u32 {
        u32::MAX
    }
}
