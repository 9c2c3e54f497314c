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

/// The lowest index that the MSR of [`Conduits::MSR`] may have (statement D5).
///
/// The range is fixed so that no host can make a guest write an MSR that means something else, such as `IA32_LSTAR`.
/// No processor has MSRs here, and no hypervisor: those of Hyper-V, KVM and Xen lie at 0x40000000, 0x4b564d00 and
/// 0x40000200.
pub const MIN_CONDUIT_MSR: u32 = 0x5056_0000;
/// The highest index that the MSR of [`Conduits::MSR`] may have (statement D5).
pub const MAX_CONDUIT_MSR: u32 = 0x5056_00ff;
/// The lowest I/O port that [`Conduits::PORT`] may have (statement D5).
///
/// The range is fixed for the same reason as that of the MSRs: a port of a PC's own devices cannot be named.
pub const MIN_CONDUIT_PORT: u16 = 0x5050;
/// The highest I/O port that [`Conduits::PORT`] may have (statement D5).
pub const MAX_CONDUIT_PORT: u16 = 0x505c;
/// Distance between the I/O ports that [`Conduits::PORT`] may have, from [`MIN_CONDUIT_PORT`] on: one access takes
/// four.
pub const CONDUIT_PORT_STEP: u16 = 4;

/// Whether a host may take the MSR `index` for [`Conduits::MSR`] (statement D5).
#[must_use]
pub const fn is_conduit_msr(index: u32) -> bool {
    MIN_CONDUIT_MSR <= index && index <= MAX_CONDUIT_MSR
}

/// Whether a host may take the I/O port `port` for [`Conduits::PORT`] (statement D5).
#[must_use]
pub const fn is_conduit_port(port: u16) -> bool {
    MIN_CONDUIT_PORT <= port && port <= MAX_CONDUIT_PORT && port % CONDUIT_PORT_STEP == 0
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msrs_of_processors_and_of_other_hypervisors_are_no_conduits() {
        let [lstar, apic_base, kvm_wall_clock, hyperv_guest_os_id] =
            [0xc000_0082, 0x1b, 0x4b56_4d00, 0x4000_0000];
        for index in [lstar, apic_base, kvm_wall_clock, hyperv_guest_os_id, 0, 0x5055_ffff, 0x5056_0100] {
            assert!(!is_conduit_msr(index), "MSR {index:#x}");
        }
        assert!(is_conduit_msr(0x5056_0000) && is_conduit_msr(0x5056_00ff));
    }

    #[test]
    fn ports_of_a_pc_and_ports_off_their_boundary_are_no_conduits() {
        let [config_address, com1, debug_exit] = [0xcf8, 0x3f8, 0xf4];
        for port in [config_address, com1, debug_exit, 0, 0x504c, 0x5051, 0x5056, 0x505e, 0x5060, u16::MAX] {
            assert!(!is_conduit_port(port), "port {port:#x}");
        }
        assert!([0x5050, 0x5054, 0x5058, 0x505c].into_iter().all(is_conduit_port));
    }
}
