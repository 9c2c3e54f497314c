//! CPUID of each vCPU: what of KVM's a guest may have, with this vCPU's place in the machine and the blocks of the
//! hypervisor range.

mod allowed;

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use pvir_abi::Discovery;
use pvir_host::conduit;

/// Leaf 1: ECX bits.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: more than one logical processor.
const HTT: u32 = 1 << 28;

/// KVM's features, in its block, which is the first of the hypervisor range.
const KVM_FEATURES: u32 = 0x4000_0001;
/// `KVM_FEATURE_MSI_EXT_DEST_ID`: this VMM takes bits 14:8 of a message's destination from address bits 11:5, and of an
/// I/O APIC's from bits 55:49 of its entry. Without it Linux leaves CPUs with ids above 254 alone.
const MSI_EXT_DEST_ID: u32 = 1 << 15;

/// The topology leaves, both with the same content.
const TOPOLOGY: [u32; 2] = [0xb, 0x1f];

/// What the CPUID of a machine depends on.
#[derive(Debug, Clone)]
pub(crate) struct CpuidTemplate {
    pub(crate) supported: Vec<kvm_cpuid_entry2>,
    pub(crate) cpus: u32,
    pub(crate) highest_apic_id: u32,
    /// KVM delivers deadline timers of its in-kernel APIC.
    pub(crate) tsc_deadline: bool,
    /// Whether KVM serves its own hypercalls, which it does not where all go to user space.
    pub(crate) serves_own_hypercalls: bool,
    /// What the service says of itself; `None` where it is not offered.
    pub(crate) discovery: Option<Discovery>,
}

impl CpuidTemplate {
    /// The entries for the vCPU with this APIC id.
    pub(crate) fn for_cpu(&self, apic_id: u32) -> Vec<kvm_cpuid_entry2> {
        let mut entries = allowed::allowed(&self.supported);
        let mut max_leaf = 0xb;
        for entry in &mut entries {
            match entry.function {
                0 => {
                    entry.eax = entry.eax.max(max_leaf);
                    max_leaf = entry.eax;
                }
                1 => self.leaf_1(entry, apic_id),
                KVM_FEATURES => entry.eax |= MSI_EXT_DEST_ID,
                // AMD: extended APIC id; the core id below it, one thread per core.
                0x8000_001e => {
                    entry.eax = apic_id;
                    entry.ebx = apic_id & 0xff;
                    entry.ecx = 0;
                }
                _ => {}
            }
        }
        for leaf in TOPOLOGY.into_iter().filter(|leaf| *leaf <= max_leaf) {
            entries.extend(self.topology(leaf, apic_id));
        }
        if !self.serves_own_hypercalls {
            conduit::hide_kvm_hypercalls(&mut entries, conduit::HYPERCALLS);
        }
        if let Some(discovery) = &self.discovery {
            if conduit::add_signature_block(&mut entries, discovery).is_none() {
                tracing::warn!("CPUID has no free block: the guest does not find pvir");
            }
        }
        entries
    }

    fn leaf_1(&self, entry: &mut kvm_cpuid_entry2, apic_id: u32) {
        let logical = self.cpus.min(255);
        entry.ebx = (entry.ebx & 0xffff) | logical << 16 | (apic_id & 0xff) << 24;
        entry.ecx |= X2APIC | HYPERVISOR;
        entry.ecx = if self.tsc_deadline { entry.ecx | TSC_DEADLINE } else { entry.ecx & !TSC_DEADLINE };
        entry.edx = if self.cpus > 1 { entry.edx | HTT } else { entry.edx & !HTT };
    }

    /// One thread per core, all cores in one package: level 0 is the thread, level 1 the core.
    fn topology(&self, leaf: u32, apic_id: u32) -> [kvm_cpuid_entry2; 3] {
        let entry = |index: u32, shift: u32, count: u32, kind: u32| kvm_cpuid_entry2 {
            function: leaf,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: kind << 8 | index,
            edx: apic_id,
            ..Default::default()
        };
        let package_shift = u32::BITS - self.highest_apic_id.leading_zeros();
        [entry(0, 0, 1, 1), entry(1, package_shift, self.cpus, 2), entry(2, 0, 0, 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Discovery = Discovery::new(pvir_abi::Features::MSIX).with_port(0x5058);

    fn leaf(function: u32, eax: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, eax, ..Default::default() }
    }

    fn template() -> CpuidTemplate {
        CpuidTemplate {
            supported: vec![
                leaf(0, 0xd),
                leaf(1, 0),
                leaf(0xb, 77),
                leaf(0x4000_0000, 0x4000_0001),
                leaf(KVM_FEATURES, !0),
            ],
            cpus: 2,
            highest_apic_id: 300,
            tsc_deadline: true,
            serves_own_hypercalls: true,
            discovery: Some(SHOWN),
        }
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *entries.iter().find(|entry| entry.function == function && entry.index == index).unwrap()
    }

    #[test]
    fn wide_apic_id_is_whole_in_the_topology_leaf_and_cut_in_leaf_1() {
        let entries = template().for_cpu(300);
        assert_eq!(find(&entries, 1, 0).ebx, 44 << 24 | 2 << 16);
        assert_eq!(find(&entries, 0xb, 0).edx, 300);
        assert_eq!(find(&entries, 0xb, 1).eax, 9, "300 needs 9 bits");
        assert_eq!((find(&entries, 0xb, 1).ebx, find(&entries, 0xb, 1).ecx), (2, 0x201));
        assert_eq!(entries.iter().filter(|entry| entry.function == 0xb).count(), 3);
    }

    #[test]
    fn topology_leaf_1f_is_there_only_below_the_highest_leaf() {
        assert!(template().for_cpu(0).iter().all(|entry| entry.function != 0x1f));
        let mut template = template();
        template.supported[0].eax = 0x1f;
        assert_eq!(find(&template.for_cpu(5), 0x1f, 0).edx, 5);
    }

    #[test]
    fn guest_is_told_that_it_has_a_hypervisor_and_x2apic() {
        let ecx = find(&template().for_cpu(0), 1, 0).ecx;
        assert_eq!(ecx, X2APIC | TSC_DEADLINE | HYPERVISOR);
    }

    #[test]
    fn own_block_is_the_first_after_kvms_and_a_guest_finds_it() {
        let entries = template().for_cpu(0);
        assert_eq!(find(&entries, 0x4000_0100, 0).eax, 0x4000_0102);
        let found = Discovery::scan(|function| {
            let leaf = entries.iter().find(|entry| entry.function == function).copied().unwrap_or_default();
            pvir_abi::CpuidLeaf { eax: leaf.eax, ebx: leaf.ebx, ecx: leaf.ecx, edx: leaf.edx }
        });
        assert_eq!(found, Some(SHOWN));
    }

    #[test]
    fn guest_may_use_destinations_of_15_bits() {
        let mut template = template();
        template.supported[4].eax = 0;
        assert_eq!(find(&template.for_cpu(0), KVM_FEATURES, 0).eax, MSI_EXT_DEST_ID);
    }

    #[test]
    fn guest_has_no_virtualization_of_its_own() {
        let mut template = template();
        template.supported.push(leaf(0x8000_0001, 0));
        template.supported.push(leaf(0x8000_000a, 1));
        for entry in &mut template.supported {
            entry.ecx = !0;
        }
        let entries = template.for_cpu(0);
        assert_eq!(find(&entries, 1, 0).ecx & 1 << 5, 0, "VMX");
        assert_eq!(find(&entries, 0x8000_0001, 0).ecx & 1 << 2, 0, "SVM");
        assert!(entries.iter().all(|entry| entry.function != 0x8000_000a));
    }

    #[test]
    fn without_an_offer_there_is_no_block() {
        let template = CpuidTemplate { discovery: None, ..template() };
        assert!(template.for_cpu(0).iter().all(|entry| entry.function & !0xff != 0x4000_0100));
    }
}
