//! Conduits: the ways in which a call reaches the host. All carry the guest physical address of a request block.
#![expect(unsafe_code, reason = "a call hands memory to the host")]

mod hypercall;
mod msr;
mod port;

pub use hypercall::{Vmcall, Vmmcall};
pub use msr::MsrConduit;
pub use port::PortConduit;

use crate::Discovered;
use pvir_abi::{Conduits, GuestPhysAddr, Status};

/// A way to call the host. Those of the hardware are here; a test or a paravisor may have one of its own.
pub trait Conduit {
    /// Whether the conduit can carry the address `block`.
    fn reaches(&self, block: GuestPhysAddr) -> bool {
        let _ = block;
        true
    }

    /// Makes the call and returns the status that the conduit itself answers, which the header repeats (statement
    /// C3).
    ///
    /// # Safety
    ///
    /// `block` is the address of a request block that nobody else reads or writes until this returns; the host
    /// overwrites it. An event area that an ENABLE in the block names stays the host's to write until DISABLE.
    /// The host behind the conduit is the one that was discovered.
    unsafe fn call(&self, block: GuestPhysAddr) -> Status;
}

/// A conduit of the CPU, chosen at run time from those that the host advertises.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HardwareConduit {
    /// The instruction `VMCALL`.
    Vmcall(Vmcall),
    /// The instruction `VMMCALL`.
    Vmmcall(Vmmcall),
    /// `WRMSR` and `RDMSR` of the MSR that the host advertises.
    Msr(MsrConduit),
    /// `OUT` and `IN` at the I/O port that the host advertises.
    Port(PortConduit),
}

/// The error of [`Discovered::conduit_among`]: none of the conduits that the kernel asked for can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("none of the conduits {:#x} can be used, only {:#x}", asked.bits(), usable.bits())]
#[non_exhaustive]
pub struct NoUsableConduit {
    /// The conduits that the kernel asked for.
    pub asked: Conduits,
    /// The conduits that the host advertises and this CPU has.
    pub usable: Conduits,
}

impl Discovered {
    /// The first conduit that can be used, of VMCALL, VMMCALL, MSR and port in this order.
    ///
    /// # Errors
    /// If none can be used, which [`discover`](crate::discover) excludes.
    pub fn best_conduit(&self) -> Result<HardwareConduit, NoUsableConduit> {
        self.conduit_among(Conduits::all())
    }

    /// The first conduit among those in `asked` that can be used, for a kernel that makes its own choice.
    ///
    /// # Errors
    /// If none of those in `asked` can be used.
    pub fn conduit_among(&self, asked: Conduits) -> Result<HardwareConduit, NoUsableConduit> {
        let chosen = self.usable & asked;
        let vmcall = || chosen.contains(Conduits::VMCALL).then_some(HardwareConduit::Vmcall(Vmcall));
        let vmmcall = || chosen.contains(Conduits::VMMCALL).then_some(HardwareConduit::Vmmcall(Vmmcall));
        let msr = || {
            let index = chosen.contains(Conduits::MSR).then_some(self.host.msr)?;
            MsrConduit::new(index).map(HardwareConduit::Msr)
        };
        let port = || {
            let number = chosen.contains(Conduits::PORT).then_some(self.host.port)?;
            PortConduit::new(number).map(HardwareConduit::Port)
        };
        let chosen = vmcall().or_else(vmmcall).or_else(msr).or_else(port);
        chosen.ok_or(NoUsableConduit { asked, usable: self.usable })
    }
}

impl Conduit for HardwareConduit {
    fn reaches(&self, block: GuestPhysAddr) -> bool {
        match self {
            Self::Vmcall(conduit) => conduit.reaches(block),
            Self::Vmmcall(conduit) => conduit.reaches(block),
            Self::Msr(conduit) => conduit.reaches(block),
            Self::Port(conduit) => conduit.reaches(block),
        }
    }

    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        match self {
            // SAFETY: the caller's promise is the one that is asked for.
            Self::Vmcall(conduit) => unsafe { conduit.call(block) },
            // SAFETY: as above.
            Self::Vmmcall(conduit) => unsafe { conduit.call(block) },
            // SAFETY: as above.
            Self::Msr(conduit) => unsafe { conduit.call(block) },
            // SAFETY: as above.
            Self::Port(conduit) => unsafe { conduit.call(block) },
        }
    }
}

/// The status in the low half of a register, where every conduit answers it.
const fn status_of(register: u64) -> Status {
    let [b0, b1, b2, b3, ..] = register.to_le_bytes();
    Status(u32::from_le_bytes([b0, b1, b2, b3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{Discovery, Features, Version};

    fn found(usable: Conduits) -> Discovered {
        let mut host = Discovery::new(Features::MSIX).with_msr(0x5056_0000).with_port(0x5058);
        host.conduits = usable;
        Discovered { host, version: Version::V1, usable }
    }

    #[test]
    fn the_best_conduit_is_the_first_of_the_page() {
        let all = found(Conduits::VMMCALL | Conduits::MSR | Conduits::PORT);
        assert!(matches!(all.best_conduit(), Ok(HardwareConduit::Vmmcall(_))));
        assert!(matches!(found(Conduits::MSR | Conduits::PORT).best_conduit(), Ok(HardwareConduit::Msr(_))));
    }

    #[test]
    fn a_kernel_may_choose_but_only_what_is_usable() {
        let all = found(Conduits::VMCALL | Conduits::PORT);
        assert!(matches!(all.conduit_among(Conduits::PORT), Ok(HardwareConduit::Port(_))));
        let asked = Conduits::MSR;
        assert_eq!(all.conduit_among(asked).unwrap_err(), NoUsableConduit { asked, usable: all.usable });
    }

    #[test]
    fn a_register_that_means_something_else_is_no_conduit_even_if_the_host_was_not_validated() {
        let mut found = found(Conduits::MSR | Conduits::PORT);
        (found.host.msr, found.host.port) = (0xc000_0082, 0xcf8);
        assert!(found.best_conduit().is_err());
        assert!(MsrConduit::new(0xc000_0082).is_none() && PortConduit::new(0xcf8).is_none());
    }

    #[test]
    fn the_port_reaches_44_bits_and_whole_pages() {
        let port = PortConduit::new(0x5058).unwrap();
        assert!(port.reaches(GuestPhysAddr((1 << 44) - 4096)));
        assert!(!port.reaches(GuestPhysAddr(1 << 44)));
        assert!(!port.reaches(GuestPhysAddr(4095)));
    }
}
