//! CPUID.

use kvm_bindings::kvm_cpuid_entry2;
use pvir_abi::CPUID_SIGNATURE;

/// The signature block with another number of records in a call.
pub(crate) fn with_other_max_records(mut leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
    let base = leaves
        .iter()
        .find(|leaf| [leaf.ebx, leaf.ecx, leaf.edx] == CPUID_SIGNATURE)
        .map(|leaf| leaf.function);
    let second = leaves.iter_mut().filter(|leaf| base.is_some_and(|base| leaf.function == base + 1));
    second.for_each(|leaf| leaf.edx ^= 1);
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_of_records_is_another() {
        let [ebx, ecx, edx] = CPUID_SIGNATURE;
        let base = kvm_cpuid_entry2 { function: 0x4000_0100, ebx, ecx, edx, ..Default::default() };
        let of = |edx| kvm_cpuid_entry2 { function: 0x4000_0101, edx, ..Default::default() };
        let other = kvm_cpuid_entry2 { function: 1, edx: 512, ..Default::default() };
        assert_eq!(with_other_max_records(vec![other, base, of(512)]), [other, base, of(513)]);
    }
}
