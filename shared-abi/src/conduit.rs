//! Conduits: the ways in which a guest calls the host. All carry the guest physical address of a request block, and
//! answer with the status of the call.

use bitflags::bitflags;

/// Number of the hypercall, in RAX when VMCALL or VMMCALL is executed; RDI holds the address of the block.
///
/// It spells `"PVIR"`. Bit 31 is clear, because KVM and Xen take numbers with that bit for calls of Hyper-V.
pub const HYPERCALL_NUMBER: u32 = 0x5056_4952;

/// Bits by which the address of the block is shifted right before it is written to the I/O port.
///
/// The port carries 32 bits, so that blocks below 16 TiB can be named.
pub const PORT_ADDRESS_SHIFT: u32 = 12;

bitflags! {
    /// The conduits that work for this VM on this host: EAX of the third CPUID leaf (`docs/abi.md`, "Conduits").
    ///
    /// A host sets the bit of a conduit only if it has seen that conduit work (statement D2). A guest uses no other.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Conduits: u32 {
        /// The `VMCALL` instruction (Intel SDM Vol. 3C, "VMCALL—Call to VM Monitor").
        const VMCALL = 1 << 0;
        /// The `VMMCALL` instruction (AMD64 Architecture Programmer's Manual Vol. 3, "VMMCALL").
        const VMMCALL = 1 << 1;
        /// `WRMSR` of the block's address to [`Discovery::msr`](crate::Discovery::msr); `RDMSR` reads the status of
        /// this vCPU's last call.
        const MSR = 1 << 2;
        /// `OUT` (32 bits) of the block's page number to [`Discovery::port`](crate::Discovery::port); `IN` (32 bits)
        /// reads the status of this vCPU's last call.
        const PORT = 1 << 3;
        /// Reserved for VMGEXIT of SEV-ES and SEV-SNP guests; version 1 does not serve it.
        const GHCB = 1 << 4;
        /// Reserved for TDG.VP.VMCALL of TDX guests; version 1 does not serve it.
        const TDVMCALL = 1 << 5;
    }
}
