//! What a guest may see and do of a host device's config space: an allow-list.
//!
//! Seen are the header, and the capabilities of `held.rs`; all others are unlinked and read zero. `docs/isolation.md` has
//! the reason for each. Set can be COMMAND and the power state, which are kept here; what of COMMAND reaches the device
//! (bus master) is the function's business. Vendor-specific capabilities are the device's, behind VFIO. The registers of
//! MSI, and message control of MSI-X, are none of this: the service has them.

use std::ops::Range;

use super::held::{HeldCapability, held_capabilities};
use super::reset::{ADVANCED_FEATURES_STATUS, let_reset_by_advanced_features, let_reset_by_pci_express};
use super::space::{COMMAND, COMMAND_BITS, ConfigSpace, FIRST_CAPABILITY, HAS_LIST, SIZE, STATUS};
use crate::pci::capability::{ADVANCED_FEATURES, MSIX, PCI_EXPRESS, POWER_MANAGEMENT, VENDOR_SPECIFIC};

/// Header fields that are shown as they are: ids, class, cache line and latency, subsystem ids, grant and latency.
const SHOWN: [Range<u8>; 5] = [0..4, 8..12, 12..14, 0x2c..0x30, 0x3e..0x40];
/// Bit of STATUS: an INTx is pending. A guest has no INTx.
const INTX_PENDING: u8 = 1 << 3;
/// Of the first byte of Power Management Capabilities: version, and Device Specific Initialization. No states between on
/// and off, no PME.
const POWER_VERSION_AND_INITIALIZATION: u8 = 0b0010_0111;
/// Of Power Management Control and Status (PCI Express Base Specification 6.0, section 7.5.2.2 "Power Management
/// Control/Status Register"): the state, which is kept here and reads back while the device stays on, and that no
/// change of it resets the device.
const POWER_STATE: u8 = 0b11;
const NO_SOFT_RESET: u8 = 1 << 3;
/// Of the status of advanced features.
const TRANSACTIONS_PENDING: u8 = 1;

/// What a guest sees of a device whose config space is `physical`. `resets` says whether the host can reset the function:
/// otherwise no reset is offered, because it would be taken for done and never happen.
pub(crate) fn filter(physical: &[u8; SIZE], resets: bool) -> ConfigSpace {
    let mut space = ConfigSpace::new();
    for Range { start, end } in SHOWN {
        space.put(start, &physical[usize::from(start)..usize::from(end)]);
    }
    // One function, header type 0: the others of the device are not here.
    space.let_write(COMMAND, &COMMAND_BITS.to_le_bytes());
    space.let_through(STATUS, 2, 0);
    space.let_through(STATUS, 1, HAS_LIST | INTX_PENDING);
    let mut link = FIRST_CAPABILITY;
    for capability in held_capabilities(physical, resets).into_iter().filter(|capability| capability.shown) {
        let HeldCapability { at, id, .. } = capability;
        if link == FIRST_CAPABILITY {
            space.put(STATUS, &[HAS_LIST]);
        }
        space.put(link, &[at]);
        space.put(at, &[id, 0]);
        show(&mut space, physical, capability, resets);
        link = at + 1;
    }
    space
}

/// Shows what is behind the id and the link of a capability.
fn show(
    space: &mut ConfigSpace,
    physical: &[u8; SIZE],
    HeldCapability { at, id, size, .. }: HeldCapability,
    resets: bool,
) {
    let bytes = &physical[usize::from(at)..];
    match id {
        // Message control is the service's, and so is all of MSI behind id and link.
        MSIX => space.put(at + 4, &bytes[4..usize::from(size)]),
        PCI_EXPRESS => {
            space.put(at + 2, &bytes[2..4]);
            space.let_through(at + 4, usize::from(size) - 4, 0);
            let_reset_by_pci_express(space, at, resets);
        }
        ADVANCED_FEATURES => {
            let_reset_by_advanced_features(space, at);
            space.let_through(at + ADVANCED_FEATURES_STATUS, 1, !TRANSACTIONS_PENDING);
        }
        POWER_MANAGEMENT => {
            space.put(at + 2, &[bytes[2] & POWER_VERSION_AND_INITIALIZATION]);
            space.put(at + 4, &[NO_SOFT_RESET]);
            space.let_write(at + 4, &[POWER_STATE]);
        }
        // Its length is the device's word as well, and VFIO's, which says what can be written.
        VENDOR_SPECIFIC => space.let_forward(at + 2, usize::from(size) - 2),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::capability::MSI;

    /// An 82576: PM at 0x40, MSI (wide, mask bits, one message) at 0x50, MSI-X at 0x70, PCI Express at 0xa0, VPD.
    fn igb() -> [u8; SIZE] {
        let mut bytes = [0xee; SIZE];
        bytes[..8].copy_from_slice(&[0x86, 0x80, 0xc9, 0x10, 7, 4, 0x18, 0]);
        bytes[0x0e] = 0x80;
        bytes[0x34] = 0x40;
        bytes[0x40..0x44].copy_from_slice(&[1, 0x50, 0x23, 0xc8]);
        bytes[0x50..0x54].copy_from_slice(&[MSI, 0x70, 0x80, 1]);
        bytes[0x70..0x7c].copy_from_slice(&[MSIX, 0xa0, 9, 0x80, 3, 0, 0, 0, 3, 0x20, 0, 0]);
        bytes[0xa0..0xa4].copy_from_slice(&[PCI_EXPRESS, 0xe0, 2, 0]);
        bytes[0xe0..0xe2].copy_from_slice(&[3, 0]);
        bytes
    }

    fn seen(space: &ConfigSpace, physical: &[u8; SIZE]) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        space.read(0, &mut bytes, |at| physical[usize::from(at)]);
        bytes
    }

    #[test]
    fn capabilities_that_are_not_on_the_list_are_unlinked() {
        let physical = igb();
        let seen = seen(&filter(&physical, false), &physical);
        assert_eq!(seen[0x34], 0x40);
        assert_eq!((seen[0x41], seen[0x71], seen[0xa1]), (0x70, 0xa0, 0));
        assert_eq!((seen[0x48..0x70].to_vec(), seen[0xdc..].to_vec()), (vec![0; 40], vec![0; 36]));
        assert_eq!(seen[0x70..0x7c], [MSIX, 0xa0, 0, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
        assert_eq!(seen[0xa4..0xdc], [0xee; 0x38]);
    }

    #[test]
    fn msi_is_shown_where_there_is_no_msix() {
        let mut physical = igb();
        physical[0x70] = 0x77;
        let seen = seen(&filter(&physical, false), &physical);
        assert_eq!((seen[0x41], seen[0x51]), (0x50, 0xa0));
        assert_eq!(seen[0x50..0x70].iter().filter(|byte| **byte != 0).count(), 2, "id and link only");
    }

    #[test]
    fn power_management_has_no_more_than_on_and_off_and_no_reset() {
        let physical = igb();
        let space = filter(&physical, false);
        assert_eq!(seen(&space, &physical)[0x40..0x48], [1, 0x70, 0x23, 0, 8, 0, 0, 0]);
    }

    #[test]
    fn vendor_specific_capabilities_are_the_devices() {
        let mut physical = igb();
        physical[0x71] = 0xe4;
        physical[0xe4..0xe7].copy_from_slice(&[VENDOR_SPECIFIC, 0xf4, 0x0e]);
        physical[0xf4..0xf7].copy_from_slice(&[VENDOR_SPECIFIC, 0xa0, 0x0c]);
        let space = filter(&physical, false);
        let shown = seen(&space, &physical);
        assert_eq!((shown[0x71], shown[0xe5], shown[0xf5]), (0xe4, 0xf4, 0xa0));
        let forwarded =
            |at, len| space.forwarded(at, len).map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!(forwarded(0xe4, 4), [(2, 4)], "behind id and link");
        assert_eq!(forwarded(0xf0, 4), [(0, 2)], "up to its length");
        assert_eq!(forwarded(0xfc, 4), [(0, 4)]);
        assert!(forwarded(0x70, 4).is_empty());
        assert_eq!(forwarded(0, 256), [(0xe6, 0xf2), (0xf6, 0x100)], "all of it");
    }

    #[test]
    fn a_function_level_reset_is_offered_where_the_host_can_do_it() {
        for (version, resets) in [(1, false), (2, false), (1, true), (2, true)] {
            let mut physical = igb();
            physical[0xa2] = version;
            physical[0xa4..0xaa].copy_from_slice(&[0xff; 6]);
            // Not what the device says of itself: the host may know another way, or that this one is broken.
            physical[0xa7] = if resets { 0xef } else { 0xff };
            let mut space = filter(&physical, resets);
            let offered = if resets { 0xff } else { 0xef };
            assert_eq!(seen(&space, &physical)[0xa4..0xa8], [0xff, 0xff, 0xff, offered]);
            let before = seen(&space, &physical);
            assert_eq!(space.asks_for_reset(0xa8, &[0, 0x80]), resets);
            assert!(!space.asks_for_reset(0xa8, &[0xff, 0x7f]));
            space.write(0xa8, &[0xff; 2]);
            assert_eq!(seen(&space, &physical), before, "Device Control is read only");
        }
    }

    #[test]
    fn advanced_features_are_shown_for_their_reset() {
        let mut physical = igb();
        physical[0xa1] = 0xf0;
        for (capabilities, resets, shown) in [(3, true, true), (3, false, false), (1, true, false)] {
            physical[0xf0..0xf6].copy_from_slice(&[ADVANCED_FEATURES, 0, 6, capabilities, 0, 0xff]);
            let space = filter(&physical, resets);
            let expected = if shown { [0x13, 0, 6, 3, 0, 1] } else { [0; 6] };
            assert_eq!(seen(&space, &physical)[0xf0..0xf6], expected);
            assert_eq!(space.asks_for_reset(0xf4, &[1]), shown);
        }
    }

    #[test]
    fn header_hides_intx_decode_and_the_other_functions() {
        let physical = igb();
        let seen = seen(&filter(&physical, false), &physical);
        assert_eq!(seen[..8], [0x86, 0x80, 0xc9, 0x10, 0, 0, 0x10, 0]);
        assert_eq!((seen[0x0e], seen[0x3c], seen[0x3d]), (0, 0, 0));
        assert_eq!(seen[0x10..0x2c], [0; 28]);
    }

    #[test]
    fn only_what_is_on_the_list_can_be_written() {
        let physical = igb();
        let mut space = filter(&physical, false);
        let before = seen(&space, &physical);
        for offset in 0..256 {
            space.write(offset, &[0xff]);
        }
        let after = seen(&space, &physical);
        let changed: Vec<(usize, u8)> =
            (0..256).map(|at| (at, before[at] ^ after[at])).filter(|(_, bits)| *bits != 0).collect();
        assert_eq!(changed, [(4, 0x46), (5, 0x05), (0x44, 3)]);
        assert_eq!(space.command(), COMMAND_BITS);
    }

    #[test]
    fn lists_that_loop_or_do_not_fit_are_cut() {
        let mut physical = [0; SIZE];
        physical[6] = HAS_LIST;
        physical[0x34] = 0x40;
        physical[0x40..0x42].copy_from_slice(&[MSI, 0x40]);
        let looped = seen(&filter(&physical, false), &physical);
        assert_eq!((looped[0x34], looped[0x41]), (0x40, 0));
        physical[0x41] = 0xf8;
        physical[0xf8..0xfa].copy_from_slice(&[MSIX, 0]);
        assert_eq!(seen(&filter(&physical, false), &physical)[0x41], 0);
        physical[6] = 0;
        let none = seen(&filter(&physical, false), &physical);
        assert_eq!((none[6], none[0x34]), (0, 0));
    }
}
