//! Conduits: the ways in which a guest makes a call. All carry the same thing, the address of a request block.

use bitflags::bitflags;

/// What RAX holds for VMCALL and VMMCALL: `"PVIR"`. Bit 31 is clear, because KVM and Xen give it to Hyper-V calls.
pub const HYPERCALL_NUMBER: u32 = 0x5056_4952;

/// Port I/O carries the block's address shifted right by this: 32 bits reach 16 TiB.
pub const PORT_ADDRESS_SHIFT: u32 = 12;

bitflags! {
    /// The conduits that work on this host: EAX of the conduit leaf (`docs/abi.md`, "Conduits").
    ///
    /// A host sets a bit only for a conduit that it has seen work here. A guest uses no other.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Conduits: u32 {
        /// The `VMCALL` instruction (Intel).
        const VMCALL = 1 << 0;
        /// The `VMMCALL` instruction (AMD).
        const VMMCALL = 1 << 1;
        /// `WRMSR` of the block's address, `RDMSR` of the last status.
        const MSR = 1 << 2;
        /// `OUT` of the block's page number, `IN` of the last status.
        const PORT = 1 << 3;
        /// Reserved for SEV-ES and SEV-SNP guests; not served in version 1.
        const GHCB = 1 << 4;
        /// Reserved for TDX guests; not served in version 1.
        const TDVMCALL = 1 << 5;
    }
}
