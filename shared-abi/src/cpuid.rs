//! Discovery: the three CPUID leaves by which a host says that it serves pvir (`docs/abi.md`, "Discovery").

use crate::{Conduits, Features, MAX_RECORDS, Version};

/// EBX, ECX and EDX of the block's first leaf, which spell `"PVIRPVIRPVIR"`.
pub const CPUID_SIGNATURE: [u32; 3] = [u32::from_le_bytes(*b"PVIR"); 3];
/// The lowest CPUID leaf at which the block may start.
pub const MIN_CPUID_BASE: u32 = 0x4000_0000;
/// The highest CPUID leaf at which the block may start.
pub const MAX_CPUID_BASE: u32 = 0x4000_ff00;
/// Distance between the CPUID leaves at which the block may start, from [`MIN_CPUID_BASE`] on.
pub const CPUID_BASE_STEP: u32 = 0x100;

/// What CPUID answers for one leaf, subleaf 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuidLeaf {
    /// The register EAX.
    pub eax: u32,
    /// The register EBX.
    pub ebx: u32,
    /// The register ECX.
    pub ecx: u32,
    /// The register EDX.
    pub edx: u32,
}

/// Everything that a host's CPUID block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Discovery {
    /// Oldest version of the contract that the host speaks.
    pub oldest: Version,
    /// Newest version of the contract that the host speaks.
    pub newest: Version,
    /// Features that the host offers. The operation FEATURES repeats them (statement D3).
    pub features: Features,
    /// Maximum number of records in one call, 1 to [`MAX_RECORDS`](crate::MAX_RECORDS).
    pub max_records: u32,
    /// Conduits that work for this VM.
    pub conduits: Conduits,
    /// Index of the MSR of [`Conduits::MSR`], in the range of statement D5; 0 without it.
    pub msr: u32,
    /// I/O port of [`Conduits::PORT`], in the range of statement D5; 0 without it.
    pub port: u16,
}

impl Discovery {
    /// Number of leaves in the block: `base`, `base + 1` and `base + 2`.
    pub const LEAVES: u32 = 3;

    /// The block of a host that offers `features`, speaks the versions of this crate, takes as many records in a call as
    /// the contract allows, and has no conduit yet.
    #[must_use]
    pub const fn new(features: Features) -> Self {
        Self {
            oldest: Version::OLDEST,
            newest: Version::NEWEST,
            features,
            max_records: MAX_RECORDS,
            conduits: Conduits::empty(),
            msr: 0,
            port: 0,
        }
    }

    /// The same block with these conduits too. MSR and port come with their numbers: [`Discovery::with_msr`] and
    /// [`Discovery::with_port`].
    #[must_use]
    pub const fn with_conduits(self, conduits: Conduits) -> Self {
        Self { conduits: self.conduits.union(conduits), ..self }
    }

    /// The same block with the conduit [`Conduits::MSR`], whose MSR has this index (statement D5).
    #[must_use]
    pub const fn with_msr(self, index: u32) -> Self {
        Self { conduits: self.conduits.union(Conduits::MSR), msr: index, ..self }
    }

    /// The same block with the conduit [`Conduits::PORT`] at this I/O port (statement D5).
    #[must_use]
    pub const fn with_port(self, port: u16) -> Self {
        Self { conduits: self.conduits.union(Conduits::PORT), port, ..self }
    }

    /// The leaves `base`, `base + 1` and `base + 2`, as a host puts them into CPUID.
    #[must_use]
    pub const fn to_leaves(&self, base: u32) -> [CpuidLeaf; 3] {
        let [f0, f1, f2, f3, f4, f5, f6, f7] = self.features.bits().to_le_bytes();
        let [o0, o1] = self.oldest.0.to_le_bytes();
        let [n0, n1] = self.newest.0.to_le_bytes();
        let [p0, p1] = self.port.to_le_bytes();
        [
            CpuidLeaf {
                eax: base + Self::LEAVES - 1,
                ebx: CPUID_SIGNATURE[0],
                ecx: CPUID_SIGNATURE[1],
                edx: CPUID_SIGNATURE[2],
            },
            CpuidLeaf {
                eax: u32::from_le_bytes([o0, o1, n0, n1]),
                ebx: u32::from_le_bytes([f0, f1, f2, f3]),
                ecx: u32::from_le_bytes([f4, f5, f6, f7]),
                edx: self.max_records,
            },
            CpuidLeaf {
                eax: self.conduits.bits(),
                ebx: self.msr,
                ecx: u32::from_le_bytes([p0, p1, 0, 0]),
                edx: crate::HYPERCALL_NUMBER,
            },
        ]
    }

    /// Reads the block that starts at leaf `base`. `None` if there is no such block.
    ///
    /// `leaf` answers what CPUID answers for a leaf. Only the form is checked. Unknown bits of features and conduits
    /// are kept, so that a newer host is understood as far as this version goes (statement D4).
    pub fn at(base: u32, leaf: &mut impl FnMut(u32) -> CpuidLeaf) -> Option<Self> {
        let head = leaf(base);
        let last = base.checked_add(Self::LEAVES - 1)?;
        if [head.ebx, head.ecx, head.edx] != CPUID_SIGNATURE || head.eax < last {
            return None;
        }
        let (what, how) = (leaf(base + 1), leaf(base + 2));
        let [o0, o1, n0, n1] = what.eax.to_le_bytes();
        let [p0, p1, ..] = how.ecx.to_le_bytes();
        Some(Self {
            oldest: Version(u16::from_le_bytes([o0, o1])),
            newest: Version(u16::from_le_bytes([n0, n1])),
            features: Features::from_bits_retain(u64::from(what.ecx) << 32 | u64::from(what.ebx)),
            max_records: what.edx,
            conduits: Conduits::from_bits_retain(how.eax),
            msr: how.ebx,
            port: u16::from_le_bytes([p0, p1]),
        })
    }

    /// Scans the leaves at which the block may start and reads the first block found. `None` if there is none.
    ///
    /// `leaf` answers what CPUID answers for a leaf. That a hypervisor is present at all (CPUID.1:ECX bit 31) is for
    /// the caller to ask before.
    pub fn scan(mut leaf: impl FnMut(u32) -> CpuidLeaf) -> Option<Self> {
        (MIN_CPUID_BASE..=MAX_CPUID_BASE)
            .step_by(CPUID_BASE_STEP as usize)
            .find_map(|base| Self::at(base, &mut leaf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Discovery = Discovery {
        oldest: Version::V1,
        newest: Version(7),
        features: Features::from_bits_retain(0x8000_0001_0000_0002),
        max_records: 512,
        conduits: Conduits::MSR.union(Conduits::PORT),
        msr: 0x5056_0000,
        port: 0x5058,
    };

    fn cpu(base: u32) -> impl FnMut(u32) -> CpuidLeaf {
        move |leaf| match leaf.checked_sub(base) {
            Some(n @ 0..3) => HOST.to_leaves(base)[n as usize],
            _ => CpuidLeaf { eax: 7, ebx: 7, ecx: 7, edx: 7 },
        }
    }

    #[test]
    fn scan_finds_the_block_wherever_it_stands() {
        for base in [MIN_CPUID_BASE, 0x4000_0100, MAX_CPUID_BASE] {
            assert_eq!(Discovery::scan(cpu(base)), Some(HOST), "base {base:#x}");
        }
    }

    #[test]
    fn scan_passes_over_blocks_of_others() {
        assert_eq!(Discovery::scan(|_| CpuidLeaf::default()), None);
        assert_eq!(Discovery::scan(cpu(0x4000_0080)), None);
    }

    #[test]
    fn a_block_that_is_too_short_is_not_one() {
        let short = |leaf: u32| match leaf {
            MIN_CPUID_BASE => CpuidLeaf { eax: MIN_CPUID_BASE + 1, ..HOST.to_leaves(MIN_CPUID_BASE)[0] },
            _ => CpuidLeaf::default(),
        };
        assert_eq!(Discovery::scan(short), None);
    }
}
