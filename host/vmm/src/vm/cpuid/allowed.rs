//! What a guest gets of the CPUID that KVM supports: an allow-list of leaves, and of the features in them.
//!
//! KVM offers all that it can emulate, and more with each release. A guest gets instructions, the mitigations of
//! speculation, paging, caches and clocks. It does not get virtualization of its own (VMX, SVM: KVM's nested code), nor
//! performance counters and branch records, tracing, memory encryption, enclaves, transactions, or state that needs a
//! permission of the host's process (AMX). What a later CPU or KVM brings is hidden until it stands here.
//!
//! Bits are those of the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "CPUID", and of the
//! AMD64 Architecture Programmer's Manual, volume 3, appendix E "Obtaining Processor Information Via the CPUID
//! Instruction".

use kvm_bindings::kvm_cpuid_entry2;

/// Every bit.
const ALL: u32 = u32::MAX;
/// Leaf 0: vendor, and the highest basic leaf. No leaf beyond this one is shown.
const MAX_BASIC: u32 = 0x1f;
/// No extended leaf beyond this one is shown.
const MAX_EXTENDED: u32 = 0x8000_0021;
/// The leaf of the state that XSAVE saves.
const XSAVE_STATE: u32 = 0xd;
/// State components: x87, SSE, AVX, the three of AVX-512, PKRU.
const COMPONENTS: u32 = bits(&[0, 1, 2, 5, 6, 7, 9]);
/// Size of the legacy area and header of XSAVE.
const XSAVE_HEADER_END: u32 = 576;

/// Which bits of a leaf a guest may see.
struct Leaf {
    function: u32,
    /// `None`: of every index.
    index: Option<u32>,
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
}

const fn bits(list: &[u32]) -> u32 {
    let (mut set, mut rest) = (0, list);
    while let [bit, tail @ ..] = rest {
        set |= 1 << *bit;
        rest = tail;
    }
    set
}

const fn leaf(function: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { function, index: None, eax, ebx, ecx, edx }
}

const fn part(function: u32, index: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { function, index: Some(index), eax, ebx, ecx, edx }
}

/// A leaf that says how the CPU is built: all of it is shown.
const fn whole(function: u32) -> Leaf {
    leaf(function, ALL, ALL, ALL, ALL)
}

/// FPU to PSE-36 of leaf 1, without the serial number; the extended leaf repeats most of these.
const LEGACY: u32 = bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24]);

const ALLOWED: &[Leaf] = &[
    whole(0),
    leaf(
        1,
        ALL,
        ALL,
        // SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE OSXSAVE AVX F16C
        // RDRAND hypervisor.
        bits(&[0, 1, 9, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]),
        // SEP CLFSH SSE SSE2 SS HTT.
        LEGACY | bits(&[11, 19, 25, 26, 27, 28]),
    ),
    // Caches and TLBs.
    whole(2),
    whole(4),
    // The APIC timer always runs.
    leaf(6, bits(&[2]), 0, 0, 0),
    part(
        7,
        0,
        ALL,
        // FSGSBASE TSC_ADJUST BMI1 AVX2 FDP SMEP BMI2 ERMS INVPCID FCS AVX512F/DQ RDSEED ADX SMAP IFMA CLFLUSHOPT CLWB
        // AVX512PF/ER/CD SHA AVX512BW/VL.
        bits(&[0, 1, 3, 5, 6, 7, 8, 9, 10, 13, 16, 17, 18, 19, 20, 21, 23, 24, 26, 27, 28, 29, 30, 31]),
        // PREFETCHWT1 VBMI UMIP PKU OSPKE VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ LA57 RDPID CLDEMOTE MOVDIRI
        // MOVDIR64B.
        bits(&[0, 1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 16, 22, 25, 27, 28]),
        // 4VNNIW 4FMAPS FSRM VP2INTERSECT MD_CLEAR SERIALIZE AVX512-FP16 IBRS STIBP L1D_FLUSH ARCH_CAPABILITIES SSBD.
        bits(&[2, 3, 4, 8, 10, 14, 23, 26, 27, 28, 29, 31]),
    ),
    part(
        7,
        1,
        // SHA512 SM3 SM4 AVX-VNNI AVX512-BF16 CMPCCXADD FZRM FSRS FSRCS AVX-IFMA.
        bits(&[0, 1, 2, 4, 5, 7, 10, 11, 12, 23]),
        0,
        0,
        // AVX-VNNI-INT8 AVX-NE-CONVERT AVX-VNNI-INT16 PREFETCHI.
        bits(&[4, 5, 10, 14]),
    ),
    // The controls of speculation.
    part(7, 2, 0, 0, 0, bits(&[0, 1, 2, 3, 4, 5])),
    // XSAVEOPT XSAVEC XGETBV XSAVES, and no state of the supervisor's.
    part(XSAVE_STATE, 1, bits(&[0, 1, 2, 3]), ALL, 0, 0),
    part(XSAVE_STATE, 0, COMPONENTS, ALL, ALL, 0),
    whole(XSAVE_STATE),
    // Clocks.
    whole(0x15),
    whole(0x16),
    // KVM: its name, and clocks, steal time, asynchronous page faults by interrupt, EOI, IPIs and TLB flushes, polling,
    // wide destinations of messages.
    whole(0x4000_0000),
    leaf(0x4000_0001, bits(&[0, 1, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 24]), 0, 0, 0),
    whole(0x4000_0010),
    whole(0x8000_0000),
    leaf(
        0x8000_0001,
        ALL,
        ALL,
        // LAHF CMP_LEGACY CR8 ABM SSE4A MISALIGNSSE PREFETCHW OSVW XOP FMA4 TBM TOPOEXT.
        bits(&[0, 1, 4, 5, 6, 7, 8, 9, 11, 16, 21, 22]),
        // SYSCALL NX MMXEXT FFXSR 1-GiB pages RDTSCP long mode 3DNow.
        LEGACY | bits(&[11, 20, 22, 25, 26, 27, 29, 30, 31]),
    ),
    whole(0x8000_0002),
    whole(0x8000_0003),
    whole(0x8000_0004),
    whole(0x8000_0005),
    whole(0x8000_0006),
    // The TSC is invariant.
    leaf(0x8000_0007, 0, 0, 0, bits(&[8])),
    leaf(
        0x8000_0008,
        ALL,
        // CLZERO RstrFpErrPtrs WBNOINVD IBPB IBRS STIBP, STIBP always on, IBRS same mode, SSBD VIRT_SSBD SSB_NO PSFD BTC_NO
        // IBPB_RET.
        bits(&[0, 2, 9, 12, 14, 15, 17, 19, 24, 25, 26, 28, 29, 30]),
        ALL,
        0,
    ),
    whole(0x8000_0019),
    whole(0x8000_001a),
    whole(0x8000_001d),
    whole(0x8000_001e),
    leaf(
        0x8000_0021,
        // No nested data breakpoints, LFENCE serializes, VERW clears, null selectors clear the base, automatic IBRS, SBPB,
        // IBPB_BRTYPE, SRSO_NO, SRSO_USER_KERNEL_NO.
        bits(&[0, 2, 5, 6, 8, 27, 28, 29, 30]),
        0,
        // TSA_SQ_NO TSA_L1_NO.
        bits(&[1, 2]),
        0,
    ),
];

/// What of `supported` a guest gets.
pub(super) fn allowed(supported: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    let mut entries: Vec<_> = supported.iter().filter_map(filter).collect();
    let end = |entry: &kvm_cpuid_entry2| entry.eax.saturating_add(entry.ebx);
    let components = entries.iter().filter(|entry| entry.function == XSAVE_STATE && entry.index > 1);
    let area = components.map(end).max().unwrap_or(0).max(XSAVE_HEADER_END);
    for entry in &mut entries {
        match (entry.function, entry.index) {
            (0, _) => entry.eax = entry.eax.min(MAX_BASIC),
            (0x8000_0000, _) => entry.eax = entry.eax.min(MAX_EXTENDED),
            // The highest index.
            (7, 0) => entry.eax = entry.eax.min(2),
            // The size with all components that are left.
            (XSAVE_STATE, 0) => entry.ecx = area,
            _ => {}
        }
    }
    entries
}

fn filter(entry: &kvm_cpuid_entry2) -> Option<kvm_cpuid_entry2> {
    let is_component = entry.function == XSAVE_STATE && entry.index > 1;
    if is_component && 1_u32.checked_shl(entry.index).unwrap_or(0) & COMPONENTS == 0 {
        return None;
    }
    let leaf = ALLOWED.iter().find(|leaf| {
        leaf.function == entry.function && leaf.index.is_none_or(|index| index == entry.index)
    })?;
    Some(kvm_cpuid_entry2 {
        eax: entry.eax & leaf.eax,
        ebx: entry.ebx & leaf.ebx,
        ecx: entry.ecx & leaf.ecx,
        edx: entry.edx & leaf.edx,
        ..*entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(function: u32, index: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, index, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL, ..Default::default() }
    }

    fn shown(function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
        allowed(&[full(function, index)]).first().copied()
    }

    #[test]
    fn virtualization_is_hidden() {
        assert_eq!(shown(1, 0).unwrap().ecx & (1 << 5 | 1 << 6), 0, "VMX, SMX");
        assert_eq!(shown(0x8000_0001, 0).unwrap().ecx & (1 << 2 | 1 << 12), 0, "SVM, SKINIT");
        assert!(shown(0x8000_000a, 0).is_none(), "SVM's leaf");
        let kvm = shown(0x4000_0001, 0).unwrap().eax;
        assert_eq!(kvm & 1 << 10, 0, "asynchronous page faults as exits of a nested guest");
    }

    #[test]
    fn counters_tracing_enclaves_encryption_and_what_is_not_known_are_hidden() {
        for function in [
            3,
            5,
            9,
            0xa,
            0xf,
            0x10,
            0x12,
            0x14,
            0x19,
            0x1a,
            0x1c,
            0x1d,
            0x23,
            0x24,
            0x77,
            0x8000_001b,
            0x8000_001f,
        ] {
            assert!(shown(function, 0).is_none(), "{function:#x}");
        }
        for function in [0x8000_0022, 0x8000_0026, 0xc000_0000, 0xc000_0001, 0x4000_0100] {
            assert!(shown(function, 0).is_none(), "{function:#x}");
        }
        let features = shown(7, 0).unwrap();
        assert_eq!(features.ebx & (1 << 2 | 1 << 4 | 1 << 11 | 1 << 25), 0, "SGX, TSX, PT");
        assert_eq!(features.edx & (1 << 19 | 1 << 22 | 1 << 24 | 1 << 25), 0, "branch records, AMX");
        assert!(shown(7, 3).is_none());
        assert_eq!((shown(0, 0).unwrap().eax, shown(0x8000_0000, 0).unwrap().eax), (MAX_BASIC, MAX_EXTENDED));
    }

    #[test]
    fn what_guests_need_is_shown() {
        let leaf = shown(1, 0).unwrap();
        assert_eq!(leaf.ecx >> 20 & 0x7f, 0x7f, "SSE4.2 to XSAVE");
        assert_eq!(leaf.edx & (1 << 9 | 1 << 12 | 1 << 16), 1 << 9 | 1 << 12 | 1 << 16, "APIC, MTRR, PAT");
        assert_eq!(
            shown(0x8000_0001, 0).unwrap().edx & (1 << 20 | 1 << 29),
            1 << 20 | 1 << 29,
            "NX, long mode"
        );
        assert_eq!(shown(7, 0).unwrap().edx >> 26 & 0b1111, 0b1111, "mitigations");
        assert_eq!(shown(4, 3).unwrap(), full(4, 3), "caches");
        assert_eq!(shown(6, 0).unwrap().eax, 4);
    }

    #[test]
    fn the_area_of_xsave_has_room_for_what_is_shown_and_no_more() {
        let component = |index, offset, size| kvm_cpuid_entry2 {
            function: XSAVE_STATE,
            index,
            eax: size,
            ebx: offset,
            ..Default::default()
        };
        let state =
            [full(XSAVE_STATE, 0), component(2, 576, 256), component(9, 2688, 8), component(18, 2816, 8192)];
        let entries = allowed(&state);
        assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [0, 2, 9]);
        assert_eq!((entries[0].eax, entries[0].ecx, entries[0].edx), (COMPONENTS, 2696, 0));
        assert_eq!(allowed(&state[..1])[0].ecx, 576);
        assert_eq!(shown(XSAVE_STATE, 1).unwrap().ecx, 0, "no state of the supervisor's");
        assert!(shown(XSAVE_STATE, 62).is_none());
    }
}
