//! The capabilities that a host device has, and which of them a guest is shown.

use std::ops::Range;

use super::space::{FIRST_CAPABILITY, HAS_LIST, SIZE, STATUS};
use crate::pci::capability::{
    ADVANCED_FEATURES, MSI, MSIX, MSIX_LEN, PCI_EXPRESS, POWER_MANAGEMENT, VENDOR_SPECIFIC,
};

const HEAD: u8 = 2;
const POWER_MANAGEMENT_LEN: u8 = 8;
/// Advanced features, and the byte of its capabilities with the bit of a function level reset (PCI Local Bus Specification
/// 3.0, engineering change notice "Advanced Capabilities for Conventional PCI", section 6.8.3; 27 July 2006).
const ADVANCED_FEATURES_LEN: u8 = 6;
const ADVANCED_FEATURES_CAPABILITIES: u8 = 3;
const ADVANCED_RESET: u8 = 1 << 1;
/// MSI message control, and bits of its bytes: 64-bit address, mask bits.
const MSI_CONTROL: u8 = 0x02;
const MSI_WIDE: u8 = 1 << 7;
const MSI_MASKABLE: u8 = 1;

/// A capability of a host device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HeldCapability {
    pub(crate) at: u8,
    pub(crate) id: u8,
    /// Its length in bytes, id and link included.
    pub(crate) size: u8,
    pub(crate) shown: bool,
}

impl HeldCapability {
    fn range(&self) -> Range<usize> {
        usize::from(self.at)..usize::from(self.at) + usize::from(self.size)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.range().start < other.range().end && other.range().start < self.range().end
    }
}

/// The list as the device has it. A capability is shown if it is of a kind that is, the first of that kind (where it is
/// not vendor-specific), inside of configuration space, and has no byte that another one has too: what is forwarded to
/// the device must be no register that is not. `resets` says whether the host can reset the function: advanced features
/// are there for nothing else.
pub(crate) fn held_capabilities(physical: &[u8; SIZE], resets: bool) -> Vec<HeldCapability> {
    let mut list: Vec<HeldCapability> = listed(physical)
        .into_iter()
        .map(|(at, id)| HeldCapability { at, id, size: size(&physical[usize::from(at)..], id), shown: false })
        .collect();
    // A function is driven by one of the two.
    let has_msix = list.iter().any(|capability| capability.id == MSIX);
    let shown: Vec<bool> = list
        .iter()
        .enumerate()
        .map(|(index, capability)| {
            let first = list.iter().take(index).all(|earlier| earlier.id != capability.id);
            let alone =
                |(other, held): (usize, &HeldCapability)| other == index || !held.overlaps(capability);
            let kind = match capability.id {
                MSI => first && !has_msix,
                MSIX | PCI_EXPRESS | POWER_MANAGEMENT => first,
                ADVANCED_FEATURES => first && resets && has_advanced_reset(&physical[capability.at.into()..]),
                VENDOR_SPECIFIC => capability.size > HEAD && list.iter().enumerate().all(alone),
                _ => false,
            };
            kind && capability.range().end <= SIZE
        })
        .collect();
    list.iter_mut().zip(shown).for_each(|(capability, shown)| capability.shown = shown);
    list
}

/// Offset and id of each. A list that loops ends.
fn listed(physical: &[u8; SIZE]) -> Vec<(u8, u8)> {
    let mut found: Vec<(u8, u8)> = Vec::new();
    if physical[usize::from(STATUS)] & HAS_LIST == 0 {
        return found;
    }
    let mut at = physical[usize::from(FIRST_CAPABILITY)] & 0xfc;
    while at >= 0x40 && !found.iter().any(|(known, _)| *known == at) {
        found.push((at, physical[usize::from(at)]));
        at = physical[usize::from(at) + 1] & 0xfc;
    }
    found
}

/// The length of a capability as far as this one knows it; otherwise that of its head.
fn size(bytes: &[u8], id: u8) -> u8 {
    match id {
        MSIX => MSIX_LEN,
        MSI => msi_size(bytes),
        PCI_EXPRESS => pci_express_size(bytes),
        ADVANCED_FEATURES => ADVANCED_FEATURES_LEN,
        POWER_MANAGEMENT => POWER_MANAGEMENT_LEN,
        // PCI Express Base Specification 6.0, section 7.9.4 "Vendor-Specific Capability": the byte behind the link.
        VENDOR_SPECIFIC => bytes.get(2).copied().unwrap_or(0).max(HEAD),
        _ => HEAD,
    }
}

fn has_advanced_reset(bytes: &[u8]) -> bool {
    let capabilities = bytes.get(usize::from(ADVANCED_FEATURES_CAPABILITIES));
    capabilities.is_some_and(|byte| byte & ADVANCED_RESET != 0)
}

fn msi_size(bytes: &[u8]) -> u8 {
    let control =
        |at: usize, bit: u8| bytes.get(usize::from(MSI_CONTROL) + at).is_some_and(|byte| byte & bit != 0);
    let narrow = if control(1, MSI_MASKABLE) { 0x14 } else { 0x0a };
    if control(0, MSI_WIDE) { narrow + 4 } else { narrow }
}

/// Version 1 of an endpoint ends behind the link registers; later ones are always whole (PCI Express Base
/// Specification 6.0, section 7.5.3 "PCI Express Capability Structure").
fn pci_express_size(bytes: &[u8]) -> u8 {
    let version = bytes.get(2).map_or(0, |flags| flags & 15);
    if version >= 2 { 0x3c } else { 0x14 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msi_has_four_lengths() {
        let size = |low, high| msi_size(&[MSI, 0, low, high]);
        assert_eq!([size(0, 0), size(0x80, 0), size(0, 1), size(0x80, 1)], [0x0a, 0x0e, 0x14, 0x18]);
    }

    fn shown(capabilities: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = [0; SIZE];
        bytes[usize::from(STATUS)] = HAS_LIST;
        let mut link = usize::from(FIRST_CAPABILITY);
        for (at, capability) in capabilities {
            bytes[link] = *at;
            bytes[usize::from(*at)..][..capability.len()].copy_from_slice(capability);
            link = usize::from(*at) + 1;
        }
        let held = held_capabilities(&bytes, false).into_iter();
        held.filter(|capability| capability.shown).map(|capability| capability.at).collect()
    }

    #[test]
    fn each_vendor_specific_capability_is_shown_and_of_others_the_first() {
        let vendor = |len: u8| [VENDOR_SPECIFIC, 0, len, 1];
        assert_eq!(
            shown(&[
                (0x40, &vendor(16)),
                (0x50, &vendor(20)),
                (0x64, &[MSIX, 0, 0, 0]),
                (0x70, &[MSIX, 0, 0, 0]),
                (0x80, &[3, 0]),
                (0x88, &[0x13, 0, 6, 3]),
            ]),
            [0x40, 0x50, 0x64]
        );
    }

    #[test]
    fn a_vendor_specific_capability_has_no_register_of_another() {
        let vendor = |len: u8| [VENDOR_SPECIFIC, 0, len, 1];
        let msix = [MSIX, 0, 0, 0];
        assert_eq!(shown(&[(0x40, &vendor(0x14)), (0x50, &msix)]), [0x50], "it reaches over MSI-X");
        assert_eq!(shown(&[(0x50, &msix), (0x58, &vendor(8))]), [0x50], "it begins inside of MSI-X");
        assert_eq!(shown(&[(0x40, &vendor(0x14)), (0x50, &[3, 0])]), [], "it reaches over VPD");
        assert_eq!(shown(&[(0xf8, &vendor(9))]), [], "it reaches out of configuration space");
        assert_eq!(shown(&[(0xf8, &vendor(8))]), [0xf8]);
        assert_eq!(shown(&[(0x40, &vendor(2))]), [], "it has nothing");
    }
}
