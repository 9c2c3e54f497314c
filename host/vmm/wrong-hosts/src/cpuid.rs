//! CPUID.

use kvm_bindings::kvm_cpuid_entry2;
use pvir_abi::{CPUID_SIGNATURE, Conduits};

/// The MSR that holds the entry point of SYSCALL (Intel SDM Vol. 4, "IA32_LSTAR").
const IA32_LSTAR: u32 = 0xc000_0082;

/// The signature block with another number of records in a call.
pub(crate) fn with_other_max_records(leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
    changed(leaves, 1, |leaf| leaf.edx ^= 1)
}

/// The signature block with IA32_LSTAR as the MSR of the conduit.
pub(crate) fn with_msr_of_the_cpu(leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
    changed(leaves, 2, |leaf| {
        leaf.eax |= Conduits::MSR.bits();
        leaf.ebx = IA32_LSTAR;
    })
}

/// The leaves with the one `number` leaves behind the first of the signature block changed.
fn changed(
    mut leaves: Vec<kvm_cpuid_entry2>,
    number: u32,
    change: impl FnOnce(&mut kvm_cpuid_entry2),
) -> Vec<kvm_cpuid_entry2> {
    let base = leaves
        .iter()
        .find(|leaf| [leaf.ebx, leaf.ecx, leaf.edx] == CPUID_SIGNATURE)
        .map(|leaf| leaf.function);
    let found = leaves.iter_mut().find(|leaf| base.is_some_and(|base| leaf.function == base + number));
    if let Some(leaf) = found {
        change(leaf);
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> [kvm_cpuid_entry2; 4] {
        let [ebx, ecx, edx] = CPUID_SIGNATURE;
        let leaf = |function| kvm_cpuid_entry2 { function, ..Default::default() };
        [
            kvm_cpuid_entry2 { edx: 512, ..leaf(1) },
            kvm_cpuid_entry2 { ebx, ecx, edx, ..leaf(0x4000_0100) },
            kvm_cpuid_entry2 { edx: 512, ..leaf(0x4000_0101) },
            kvm_cpuid_entry2 { eax: Conduits::PORT.bits(), ..leaf(0x4000_0102) },
        ]
    }

    #[test]
    fn only_the_number_of_records_is_another() {
        let mut expected = block();
        expected[2].edx = 513;
        assert_eq!(with_other_max_records(block().to_vec()), expected);
    }

    #[test]
    fn only_the_msr_is_another_and_advertised() {
        let mut expected = block();
        (expected[3].eax, expected[3].ebx) = ((Conduits::MSR | Conduits::PORT).bits(), IA32_LSTAR);
        assert_eq!(with_msr_of_the_cpu(block().to_vec()), expected);
    }
}
