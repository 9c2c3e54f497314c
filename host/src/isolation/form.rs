//! The forms of address and data that Linux writes into a device for each kind of remapping unit.
//!
//! A pair in another form is none that the kernel has made for this unit: it would be taken for a plain message, or for
//! an entry that nobody has asked for.

use pvir_abi::Pair;

/// Bits 31:20 of the address of any message to a CPU.
const MESSAGES: u64 = 0xfee0_0000;

/// The remappable format (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2 "Interrupt Requests in Remappable
/// Format").
///
/// Linux sets SHV in every pair: the data is the subhandle, 0 but for the later messages of a multi-message MSI
/// (`fill_msi_msg` in drivers/iommu/intel/irq_remapping.c, Linux 6.12).
///
/// | bits | field | Linux writes |
/// |---|---|---|
/// | address 31:20 | | 0xfee |
/// | address 19:5, 2 | handle, bits 14:0 and 15 | the index of the entry, or of the first of several |
/// | address 4 | format: remappable | 1 |
/// | address 3 | SHV | 1 |
/// | address 1:0 | not used | 0 |
/// | data 31:16 | reserved with SHV | 0: fault reason 20h otherwise |
/// | data 15:0 | subhandle | its number in a multi-message MSI |
///
/// The sum of handle and subhandle is the entry's index: a table has 65,536 entries at most ("Interrupt
/// Remapping Table Address Register"), and beyond it is fault reason 21h.
pub(super) fn is_intel(pair: Pair) -> bool {
    const SHV: u64 = 1 << 3;
    let unused = pair.address & 3;
    let index = pair.intel_index().filter(|index| *index <= 0xffff);
    pair.address & SHV != 0 && unused == 0 && pair.data <= 0xffff && index.is_some()
}

/// A plain message, of which the unit takes the index from the data (AMD 48882 Rev 3.11, section 2.2.5 "Interrupt
/// Remapping Tables": bits 10:0 of the data, into the table of the device alone).
///
/// Linux leaves the rest of the address 0, with one exception. A unit that has tables of 2,048 entries for a device
/// (NumIntRemapSup in the second Extended Feature Register) is switched to them by newer kernels. Then DM must be 1 in the
/// message, whatever the destination mode of the entry is: the entry's own DM says that (`fill_msi_msg` in
/// drivers/iommu/amd/iommu.c).
///
/// | bits | field | Linux writes |
/// |---|---|---|
/// | address 31:20 | | 0xfee |
/// | address 19:12 | destination | 0 |
/// | address 11:3 | reserved; RH in bit 3 | 0 |
/// | address 2 | DM | 1 with tables of 2,048 entries, otherwise 0 |
/// | data 31:11 | | 0 |
/// | data 10:0 | index | below 512, or below 2,048 |
///
/// A table's length is the host's to choose (IntTabLen, "Device Table Entry Format"), and an index behind its end
/// is blocked by the unit. So the index is compared with what 11 bits hold, with and without DM.
pub(super) fn is_amd(pair: Pair) -> bool {
    const DM: u64 = 1 << 2;
    pair.address & !DM == MESSAGES && pair.data < 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intel(address: u64, data: u32) -> bool {
        is_intel(Pair { address, data })
    }

    fn amd(address: u64, data: u32) -> bool {
        is_amd(Pair { address, data })
    }

    #[test]
    fn whatever_linux_writes_for_intel_is_taken() {
        // As its driver puts it together, for every index; a multi-message MSI has up to 32 subhandles.
        for index in 0..=0xffff_u64 {
            let address = MESSAGES | (index & 0x7fff) << 5 | 1 << 4 | 1 << 3 | (index >> 15) << 2;
            assert!(intel(address, 0), "{index}");
            let last = u32::try_from(0xffff - index).unwrap().min(31);
            assert!(intel(address, last) && (last == 31 || !intel(address, last + 1)), "{index}: {last}");
        }
    }

    #[test]
    fn any_other_message_is_refused_for_intel() {
        let taken: Vec<u32> = (0..64).filter(|bit| intel(0xfee0_0298 ^ 1 << bit, 0)).collect();
        // The bits of the handle, and nothing else.
        assert_eq!(taken, [2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        let taken: Vec<u32> = (0..32).filter(|bit| intel(0xfee0_0298, 1 << bit)).collect();
        assert_eq!(taken, (0..16).collect::<Vec<_>>());
        assert!(!intel(0xfee0_0000, 5), "compatibility format");
        assert!(!intel(0xfee0_0290, 0), "Linux never leaves SHV out");
        assert!(!intel(0xfeef_fffc, 1), "entry 65,536 of 65,536");
        assert!(!intel(u64::MAX, u32::MAX));
    }

    #[test]
    fn whatever_linux_writes_for_amd_is_taken() {
        for index in 0..2048 {
            assert!(amd(MESSAGES, index) && amd(MESSAGES | 4, index), "{index}");
        }
    }

    #[test]
    fn any_other_message_is_refused_for_amd() {
        let taken: Vec<u32> = (0..64).filter(|bit| amd(MESSAGES ^ 1 << bit, 5)).collect();
        assert_eq!(taken, [2], "DM alone, and no redirection hint");
        let taken: Vec<u32> = (0..32).filter(|bit| amd(0xfee0_0004, 1 << bit)).collect();
        assert_eq!(taken, (0..11).collect::<Vec<_>>());
        assert!(!amd(0xfee0_0298, 0) && !amd(u64::MAX, u32::MAX));
    }
}
