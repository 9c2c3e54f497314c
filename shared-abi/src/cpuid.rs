//! Discovery: the CPUID signature block.

use crate::{Conduits, Features, Version};

/// EBX, ECX, EDX of the block's first leaf: `"PVIRPVIRPVIR"`.
pub const CPUID_SIGNATURE: [u32; 3] = [u32::from_le_bytes(*b"PVIR"); 3];
/// The lowest leaf at which the block may start.
pub const MIN_CPUID_BASE: u32 = 0x4000_0000;
/// The highest leaf at which the block may start.
pub const MAX_CPUID_BASE: u32 = 0x4000_ff00;
/// The block starts at a multiple of this above [`MIN_CPUID_BASE`].
pub const CPUID_BASE_STEP: u32 = 0x100;

/// The four registers of one CPUID leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuidLeaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// All that the signature block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discovery {
    /// Oldest version that the host speaks.
    pub oldest: Version,
    /// Newest version that the host speaks.
    pub newest: Version,
    /// Features that the host offers; `FEATURES` repeats them.
    pub features: Features,
    /// Most records in one call.
    pub max_records: u32,
    /// Conduits that work.
    pub conduits: Conduits,
    /// MSR index; 0 without [`Conduits::MSR`].
    pub msr: u32,
    /// I/O port; 0 without [`Conduits::PORT`].
    pub port: u16,
}

impl Discovery {
    /// Leaves in the block: `base`, `base + 1`, `base + 2`.
    pub const LEAVES: u32 = 3;

    /// The block's leaves, as the host puts them at `base`.
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

    /// Reads the block that starts at `base`; `None` if `leaf` shows no such block there.
    ///
    /// `leaf` executes CPUID. Nothing in the answer is trusted beyond its form: unknown feature and conduit bits
    /// are kept, so that a newer host is understood as far as this version goes.
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

    /// Scans every place at which the block may start.
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
        port: 0x5056,
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
