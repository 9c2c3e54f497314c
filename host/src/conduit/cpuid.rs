//! What CPUID says of the conduits.

use super::HYPERCALLS;
use kvm_bindings::kvm_cpuid_entry2;
use pvir_abi::{CPUID_BASE_STEP, Conduits, Discovery, MAX_CPUID_BASE, MIN_CPUID_BASE};

/// KVM's features that rest on a hypercall: unhalting, IPIs, yielding and page ranges (bits of EAX of the second leaf of
/// KVM's block; `Documentation/virt/kvm/x86/cpuid.rst`, Linux 6.12).
const KVM_FEATURES_BY_HYPERCALL: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;
/// EBX, ECX and EDX of the first leaf of KVM's block.
const KVM_SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"KVMK"), u32::from_le_bytes(*b"VMKV"), u32::from_le_bytes(*b"M\0\0\0")];

/// The base of the first block of the hypervisor range in which no leaf of `functions` lies, these being the leaves that
/// the VMM shows. `None` if all 256 are taken.
#[must_use]
pub fn free_block(functions: impl IntoIterator<Item = u32>) -> Option<u32> {
    let mut taken: Vec<u32> = functions.into_iter().map(|leaf| leaf & !(CPUID_BASE_STEP - 1)).collect();
    taken.sort_unstable();
    (MIN_CPUID_BASE..=MAX_CPUID_BASE)
        .step_by(CPUID_BASE_STEP as usize)
        .find(|base| taken.binary_search(base).is_err())
}

/// Adds the block that `shown` describes ([`Service::discovery`](crate::service::Service::discovery)) to the CPUID of a
/// vCPU, at the first free place, and answers with its base. `None`, and nothing is added, if no place is free.
///
/// A VMM that keeps its leaves in another form uses [`free_block`] and [`Discovery::to_leaves`].
pub fn add_signature_block(entries: &mut Vec<kvm_cpuid_entry2>, shown: &Discovery) -> Option<u32> {
    let base = free_block(entries.iter().map(|entry| entry.function))?;
    let leaves = (base..).zip(shown.to_leaves(base));
    entries.extend(leaves.map(|(function, leaf)| kvm_cpuid_entry2 {
        function,
        eax: leaf.eax,
        ebx: leaf.ebx,
        ecx: leaf.ecx,
        edx: leaf.edx,
        ..Default::default()
    }));
    Some(base)
}

/// Hides the features of KVM that rest on a hypercall, which KVM does not serve any more where `opened` has a conduit by
/// an intercepted instruction. Otherwise, and where KVM shows no block of its own, nothing changes.
pub fn hide_kvm_hypercalls(entries: &mut [kvm_cpuid_entry2], opened: Conduits) {
    let of_kvm = |entry: &&kvm_cpuid_entry2| [entry.ebx, entry.ecx, entry.edx] == KVM_SIGNATURE;
    let Some(base) = entries.iter().find(of_kvm).map(|entry| entry.function) else { return };
    if opened.intersects(HYPERCALLS) {
        let features = entries.iter_mut().filter(|entry| entry.function == base + 1);
        features.for_each(|entry| entry.eax &= !KVM_FEATURES_BY_HYPERCALL);
    }
}

/// The conduit by the hypercall instruction of the CPUs that these leaves describe. Without leaf 0 it is VMCALL.
#[must_use]
pub fn hypercall_of(entries: &[kvm_cpuid_entry2]) -> Conduits {
    let vendor = entries.iter().find(|entry| entry.function == 0);
    vendor.map_or(Conduits::VMCALL, |leaf| hypercall_of_vendor([leaf.ebx, leaf.edx, leaf.ecx]))
}

/// The conduit by the hypercall instruction of a vendor's CPUs. `vendor` is EBX, EDX and ECX of CPUID leaf 0, in this
/// order, in which they spell the vendor's name. The other instruction faults, and works only as far as KVM patches the
/// guest.
#[must_use]
pub fn hypercall_of_vendor(vendor: [u32; 3]) -> Conduits {
    let name = vendor.map(u32::to_le_bytes);
    match name.as_flattened() {
        b"AuthenticAMD" | b"HygonGenuine" => Conduits::VMMCALL,
        _ => Conduits::VMCALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{CpuidLeaf, Features};

    const SHOWN: Discovery = Discovery::new(Features::MSIX).with_port(super::super::PORT);

    fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, ..Default::default() }
    }

    fn block_of_kvm(base: u32) -> [kvm_cpuid_entry2; 2] {
        let [ebx, ecx, edx] = KVM_SIGNATURE;
        [leaf(base, [base + 1, ebx, ecx, edx]), leaf(base + 1, [!0, 0, 0, 0])]
    }

    #[test]
    fn the_block_is_the_first_after_kvms_and_a_guest_finds_it() {
        let mut entries = vec![leaf(0, [0xd, 0, 0, 0])];
        entries.extend(block_of_kvm(0x4000_0000));
        entries.push(leaf(0x4000_0210, [0; 4]));
        assert_eq!(add_signature_block(&mut entries, &SHOWN), Some(0x4000_0100));
        let found = Discovery::scan(|function| {
            let leaf = entries.iter().find(|entry| entry.function == function).copied().unwrap_or_default();
            CpuidLeaf { eax: leaf.eax, ebx: leaf.ebx, ecx: leaf.ecx, edx: leaf.edx }
        });
        assert_eq!(found, Some(SHOWN));
        assert_eq!(add_signature_block(&mut entries, &SHOWN), Some(0x4000_0300), "0x40000200 is half taken");
    }

    #[test]
    fn where_no_block_is_free_none_is_taken() {
        let all = (0..256).map(|block| MIN_CPUID_BASE + block * CPUID_BASE_STEP);
        assert_eq!(free_block(all.clone()), None);
        assert_eq!(free_block(all.filter(|base| *base != MAX_CPUID_BASE)), Some(MAX_CPUID_BASE));
    }

    #[test]
    fn kvms_hypercalls_are_hidden_where_they_are_intercepted() {
        for base in [0x4000_0000, 0x4000_0100] {
            let mut entries = block_of_kvm(base);
            hide_kvm_hypercalls(&mut entries, Conduits::PORT | Conduits::MSR);
            assert_eq!(entries[1].eax, !0);
            hide_kvm_hypercalls(&mut entries, Conduits::PORT | Conduits::VMMCALL);
            assert_eq!(entries[1].eax, !KVM_FEATURES_BY_HYPERCALL);
        }
        let mut others = [leaf(0x4000_0000, [0x4000_0001, 1, 2, 3]), leaf(0x4000_0001, [!0; 4])];
        hide_kvm_hypercalls(&mut others, Conduits::VMCALL);
        assert_eq!(others[1].eax, !0, "another hypervisor's block");
    }

    #[test]
    fn the_vendor_decides_the_instruction() {
        let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
        let amd = leaf(0, [0x10, word(b"Auth"), word(b"cAMD"), word(b"enti")]);
        let intel = leaf(0, [0x16, word(b"Genu"), word(b"ntel"), word(b"ineI")]);
        assert_eq!((hypercall_of(&[amd]), hypercall_of(&[intel])), (Conduits::VMMCALL, Conduits::VMCALL));
        assert_eq!(hypercall_of(&[]), Conduits::VMCALL);
    }
}
