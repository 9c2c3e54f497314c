//! How many physical addresses a vCPU has.

use std::fmt;

use kvm_bindings::kvm_cpuid_entry2;

/// "Intel 64 and IA-32 Architectures Software Developer's Manual, Volume 2A", CPUID, leaf 0x80000008, and "AMD64
/// Architecture Programmer's Manual, Volume 3", appendix E.4.7: EAX 7:0 is the number of address bits, 23:16 that of the
/// guest's addresses where it is another (KVM sets it where its page tables reach less).
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// What a CPU has that does not say it.
const DEFAULT: u8 = 36;

/// The number of physical address bits of a vCPU, 32 to 52.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressBits(u8);

impl AddressBits {
    /// Clamped to what the architecture has.
    pub(crate) fn new(bits: u8) -> Self {
        Self(bits.clamp(32, 52))
    }

    /// By the CPUID that KVM supports, and that the vCPUs get.
    pub(crate) fn of(cpuid: &[kvm_cpuid_entry2]) -> Self {
        let leaf = cpuid.iter().find(|entry| entry.function == ADDRESS_SIZES);
        let [bits, _, of_guest, _] = leaf.map_or([0; 4], |leaf| leaf.eax.to_le_bytes());
        let said = [bits, of_guest].into_iter().filter(|bits| *bits != 0);
        Self::new(said.min().unwrap_or(DEFAULT))
    }

    /// The address behind the last one.
    pub(crate) fn limit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for AddressBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(eax: u32) -> AddressBits {
        AddressBits::of(&[kvm_cpuid_entry2 { function: ADDRESS_SIZES, eax, ..Default::default() }])
    }

    #[test]
    fn the_smaller_number_counts() {
        assert_eq!(of(0x0000_3027), AddressBits(39));
        assert_eq!(of(0x0030_3934), AddressBits(48));
        assert_eq!(of(0x0034_3930), AddressBits(48));
        assert_eq!(AddressBits::of(&[]), AddressBits(DEFAULT));
        assert_eq!(of(0x3934).limit(), 1 << 52);
    }
}
