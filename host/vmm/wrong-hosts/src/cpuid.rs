//! CPUID.

use kvm_bindings::kvm_cpuid_entry2;
use pvir_abi::SIGNATURE;

/// The signature block with another number of records in a call.
pub(crate) fn with_other_max_records(mut leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
    let base =
        leaves.iter().find(|leaf| [leaf.ebx, leaf.ecx, leaf.edx] == SIGNATURE).map(|leaf| leaf.function);
    let second = leaves.iter_mut().filter(|leaf| base.is_some_and(|base| leaf.function == base + 1));
    second.for_each(|leaf| leaf.edx ^= 1);
    leaves
}
