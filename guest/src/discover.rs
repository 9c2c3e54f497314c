//! Discovery: whether there is a host that serves pvir, and why not if there is none.

use crate::cpu::cpuid;
use pvir_abi::{Conduits, CpuidLeaf, Discovery, MAX_RECORDS, Version, is_conduit_msr, is_conduit_port};

/// CPUID.1:ECX bit 31: a hypervisor is present.
const HYPERVISOR_PRESENT: u32 = 1 << 31;
/// EBX, EDX, ECX of CPUID.0 spell the vendor.
const VENDORS_WITH_SVM: [&[u8; 12]; 2] = [b"AuthenticAMD", b"HygonGenuine"];

/// What the host shows in CPUID, once it was checked: there is a common version and a conduit that this CPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Discovered {
    /// Everything that the host's CPUID block says.
    pub host: Discovery,
    /// The newest version of the contract that both sides speak.
    pub version: Version,
    /// The conduits that the host advertises, that this CPU has, and whose MSR or port lies where the contract allows.
    pub usable: Conduits,
}

/// Why there is no host to be used. What a kernel does then is in `docs/abi.md`, "Discovery".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDiscovered {
    /// There is no hypervisor (CPUID.1:ECX bit 31 is clear).
    #[error("no hypervisor: bare metal")]
    NoHypervisor,
    /// There is a hypervisor, but no pvir block in CPUID.
    #[error("this hypervisor shows no pvir signature in cpuid")]
    NotFound,
    /// The host speaks no version of the contract that this driver speaks.
    #[error(
        "the host speaks versions {oldest} to {newest}, this driver {} to {}",
        Version::OLDEST,
        Version::NEWEST
    )]
    NoCommonVersion {
        /// Oldest version that the host speaks.
        oldest: Version,
        /// Newest version that the host speaks.
        newest: Version,
    },
    /// The host takes no record in a call, or more than the contract allows.
    #[error("the host takes {max_records} records in a call, not 1 to {MAX_RECORDS}")]
    BadLimit {
        /// Maximum number of records in one call, as the host says.
        max_records: u32,
    },
    /// The host advertises no conduit that this CPU has and this driver serves. An MSR or a port that the contract
    /// does not leave to the host (statement D5) is not used.
    #[error("none of the host's conduits works on this cpu: {:#x}", advertised.bits())]
    NoUsableConduit {
        /// The conduits that the host advertises.
        advertised: Conduits,
    },
}

/// Looks for a host in CPUID, which is executed on this CPU.
///
/// # Errors
/// [`NotDiscovered`] says why there is no host that this driver can use.
pub fn discover() -> Result<Discovered, NotDiscovered> {
    discover_with(cpuid)
}

/// Looks for a host in the CPUID leaves that `leaf` answers, subleaf 0 of each.
///
/// It is for a kernel that must not execute CPUID, or that has validated the leaves before, as the guest of a
/// confidential VM does. Any other takes [`discover`].
///
/// # Errors
/// [`NotDiscovered`] says why there is no host that this driver can use.
pub fn discover_with(mut leaf: impl FnMut(u32) -> CpuidLeaf) -> Result<Discovered, NotDiscovered> {
    if leaf(1).ecx & HYPERVISOR_PRESENT == 0 {
        return Err(NotDiscovered::NoHypervisor);
    }
    let host = Discovery::scan(&mut leaf).ok_or(NotDiscovered::NotFound)?;
    let version = Version::newest_common((Version::OLDEST, Version::NEWEST), (host.oldest, host.newest))
        .ok_or(NotDiscovered::NoCommonVersion { oldest: host.oldest, newest: host.newest })?;
    if !(1..=MAX_RECORDS).contains(&host.max_records) {
        return Err(NotDiscovered::BadLimit { max_records: host.max_records });
    }
    let usable = usable(&host, hypercall_of(leaf(0)));
    if usable.is_empty() {
        return Err(NotDiscovered::NoUsableConduit { advertised: host.conduits });
    }
    Ok(Discovered { host, version, usable })
}

/// The hypercall instruction of this CPU.
fn hypercall_of(leaf0: CpuidLeaf) -> Conduits {
    let spells = |vendor: &&[u8; 12]| {
        let mut said = [leaf0.ebx, leaf0.edx, leaf0.ecx].into_iter().flat_map(u32::to_le_bytes);
        vendor.iter().all(|byte| said.next() == Some(*byte))
    };
    if VENDORS_WITH_SVM.iter().any(spells) { Conduits::VMMCALL } else { Conduits::VMCALL }
}

fn usable(host: &Discovery, hypercall: Conduits) -> Conduits {
    let mut ours = hypercall;
    // A number outside of the contract's ranges may be a register that means something else: a `WRMSR` of the block's
    // address to IA32_LSTAR would send the next SYSCALL there (statement D5).
    ours.set(Conduits::MSR, is_conduit_msr(host.msr));
    ours.set(Conduits::PORT, is_conduit_port(host.port));
    ours & host.conduits
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;
    use pvir_abi::{Features, MIN_CPUID_BASE};

    const HOST: Discovery = {
        let host = Discovery::new(Features::MSIX).with_conduits(Conduits::all());
        let mut host = host.with_msr(0x5056_0000).with_port(0x5058);
        host.newest = Version(9);
        host
    };

    /// The host with something changed.
    fn host(change: impl FnOnce(&mut Discovery)) -> Discovery {
        let mut host = HOST;
        change(&mut host);
        host
    }

    fn cpu(host: Discovery, vendor: &[u8; 12]) -> impl FnMut(u32) -> CpuidLeaf {
        let word = |at: usize| u32::from_le_bytes(vendor[at..at + 4].try_into().unwrap());
        let leaf0 = CpuidLeaf { eax: 1, ebx: word(0), edx: word(4), ecx: word(8) };
        move |leaf| match leaf {
            0 => leaf0,
            1 => CpuidLeaf { ecx: HYPERVISOR_PRESENT, ..CpuidLeaf::default() },
            _ => match leaf.checked_sub(MIN_CPUID_BASE + 0x300) {
                Some(n @ 0..3) => host.to_leaves(MIN_CPUID_BASE + 0x300)[n as usize],
                _ => CpuidLeaf::default(),
            },
        }
    }

    #[test]
    fn bare_metal_is_no_hypervisor() {
        assert_eq!(discover_with(|_| CpuidLeaf::default()), Err(NotDiscovered::NoHypervisor));
    }

    #[test]
    fn a_hypervisor_without_the_block_is_not_found() {
        let kvm =
            |leaf| CpuidLeaf { ecx: if leaf == 1 { HYPERVISOR_PRESENT } else { 0 }, ..CpuidLeaf::default() };
        assert_eq!(discover_with(kvm), Err(NotDiscovered::NotFound));
    }

    #[test]
    fn an_intel_cpu_uses_vmcall_and_an_amd_cpu_vmmcall() {
        let intel = discover_with(cpu(HOST, b"GenuineIntel")).unwrap();
        assert_eq!(intel.usable, Conduits::VMCALL | Conduits::MSR | Conduits::PORT);
        let amd = discover_with(cpu(HOST, b"AuthenticAMD")).unwrap();
        assert_eq!(amd.usable, Conduits::VMMCALL | Conduits::MSR | Conduits::PORT);
    }

    #[test]
    fn versions_that_do_not_meet_are_named() {
        let host = host(|host| (host.oldest, host.newest) = (Version(2), Version(3)));
        let expected = NotDiscovered::NoCommonVersion { oldest: Version(2), newest: Version(3) };
        assert_eq!(discover_with(cpu(host, b"GenuineIntel")), Err(expected));
    }

    #[test]
    fn a_limit_out_of_range_is_refused() {
        for max_records in [0, 513, u32::MAX] {
            let host = host(|host| host.max_records = max_records);
            assert_eq!(
                discover_with(cpu(host, b"GenuineIntel")),
                Err(NotDiscovered::BadLimit { max_records })
            );
        }
    }

    #[test]
    fn a_conduit_without_its_number_is_not_usable() {
        let host = host(|host| (host.conduits, host.msr, host.port) = (Conduits::MSR | Conduits::PORT, 0, 0));
        let expected = NotDiscovered::NoUsableConduit { advertised: host.conduits };
        assert_eq!(discover_with(cpu(host, b"GenuineIntel")), Err(expected));
    }

    #[test]
    fn a_host_cannot_steer_writes_to_registers_that_mean_something_else() {
        let [lstar, apic_base] = [0xc000_0082, 0x1b];
        for msr in [lstar, apic_base, 0x4b56_4d00, 0x4000_0000, 0x5055_ffff, 0x5056_0100] {
            let found = discover_with(cpu(host(|host| host.msr = msr), b"GenuineIntel")).unwrap();
            assert_eq!(found.usable, Conduits::VMCALL | Conduits::PORT, "MSR {msr:#x}");
        }
        for port in [0xcf8, 0x3f8, 0xf4, 0x504c, 0x505a, 0x5060] {
            let found = discover_with(cpu(host(|host| host.port = port), b"GenuineIntel")).unwrap();
            assert_eq!(found.usable, Conduits::VMCALL | Conduits::MSR, "port {port:#x}");
        }
        let host = host(|host| (host.conduits, host.msr) = (Conduits::MSR, lstar));
        let expected = NotDiscovered::NoUsableConduit { advertised: Conduits::MSR };
        assert_eq!(discover_with(cpu(host, b"GenuineIntel")), Err(expected));
    }
}
