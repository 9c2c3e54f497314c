//! What a guest may see and do of a host device's config space: an allow-list.
//!
//! Seen are the header, and of the capabilities MSI-X or, where there is none, MSI, and PCI Express; all others are
//! unlinked and read zero. Set can be COMMAND, which is kept here; what of it reaches the device (bus master) is the
//! function's business. The registers of MSI, and message control of MSI-X, are none of this: the service has them.

use std::ops::Range;

use super::space::{COMMAND, COMMAND_BITS, ConfigSpace, FIRST_CAPABILITY, HAS_LIST, SIZE, STATUS};
use crate::pci::capability::{MSI, MSIX, MSIX_LEN, PCI_EXPRESS};

/// Header fields that are shown as they are: ids, class, cache line and latency, subsystem ids, grant and latency.
const SHOWN: [Range<u8>; 5] = [0..4, 8..12, 12..14, 0x2c..0x30, 0x3e..0x40];
/// Bit of STATUS: an INTx is pending. A guest has no INTx.
const INTX_PENDING: u8 = 1 << 3;
/// MSI message control, and bits of its bytes: 64-bit address, mask bits.
const MSI_CONTROL: u8 = 0x02;
const MSI_WIDE: u8 = 1 << 7;
const MSI_MASKABLE: u8 = 1;
/// Device Capabilities of PCI Express, and the bit of its last byte that offers a function level reset (PCI Express Base
/// Specification 6.0, section 7.5.3.3 "Device Capabilities Register", bit 28). Device Control is not written, so a reset
/// would be reported as done and never happen.
const DEVICE_CAPABILITIES: u8 = 0x04;
const FUNCTION_LEVEL_RESET: u8 = 1 << 4;

/// What a guest sees of a device whose config space is `physical`.
pub(crate) fn filter(physical: &[u8; SIZE]) -> ConfigSpace {
    let mut space = ConfigSpace::new();
    for Range { start, end } in SHOWN {
        space.put(start, &physical[usize::from(start)..usize::from(end)]);
    }
    // One function, header type 0: the others of the device are not here.
    space.let_write(COMMAND, &COMMAND_BITS.to_le_bytes());
    space.let_through(STATUS, 2, 0);
    space.let_through(STATUS, 1, HAS_LIST | INTX_PENDING);
    let mut link = FIRST_CAPABILITY;
    let list = capabilities(physical);
    let first =
        |at: u8, id: u8| list.iter().find(|(_, other)| *other == id).is_some_and(|(first, _)| *first == at);
    let has_msix = list.iter().any(|(_, id)| *id == MSIX);
    for &(at, id) in &list {
        // A function is driven by one of the two, and the library takes the first of a kind.
        if !first(at, id) || id == MSI && has_msix || !show(&mut space, physical, at, id) {
            continue;
        }
        if link == FIRST_CAPABILITY {
            space.put(STATUS, &[HAS_LIST]);
        }
        space.put(link, &[at]);
        space.put(at, &[id, 0]);
        link = at + 1;
    }
    space
}

/// The list as the device has it: offset and id of each. One that loops ends.
fn capabilities(physical: &[u8; SIZE]) -> Vec<(u8, u8)> {
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

/// Shows what is behind the id and the link of a capability, if it is on the list and lies inside config space.
fn show(space: &mut ConfigSpace, physical: &[u8; SIZE], at: u8, id: u8) -> bool {
    let bytes = &physical[usize::from(at)..];
    let size = match id {
        MSIX => MSIX_LEN,
        MSI => msi_size(bytes),
        PCI_EXPRESS => pci_express_size(bytes),
        _ => return false,
    };
    if bytes.len() < usize::from(size) {
        return false;
    }
    match id {
        // Message control is the service's, and so is all of MSI behind id and link.
        MSIX => space.put(at + 4, &bytes[4..usize::from(size)]),
        MSI => {}
        _ => {
            space.put(at + 2, &bytes[2..4]);
            space.let_through(at + 4, usize::from(size) - 4, 0);
            space.let_through(at + DEVICE_CAPABILITIES + 3, 1, FUNCTION_LEVEL_RESET);
        }
    }
    true
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
        let seen = seen(&filter(&physical), &physical);
        assert_eq!(seen[0x34], 0x70);
        assert_eq!((seen[0x71], seen[0xa1]), (0xa0, 0));
        assert_eq!((seen[0x40..0x70].to_vec(), seen[0xdc..].to_vec()), (vec![0; 48], vec![0; 36]));
        assert_eq!(seen[0x70..0x7c], [MSIX, 0xa0, 0, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
        assert_eq!(seen[0xa4..0xdc], [0xee; 0x38]);
    }

    #[test]
    fn msi_is_shown_where_there_is_no_msix() {
        let mut physical = igb();
        physical[0x70] = 9;
        let seen = seen(&filter(&physical), &physical);
        assert_eq!((seen[0x34], seen[0x51]), (0x50, 0xa0));
        assert_eq!(seen[0x50..0x70].iter().filter(|byte| **byte != 0).count(), 2, "id and link only");
    }

    #[test]
    fn a_function_level_reset_is_not_offered() {
        for version in [1, 2] {
            let mut physical = igb();
            physical[0xa2] = version;
            physical[0xa4..0xaa].copy_from_slice(&[0xff; 6]);
            let mut space = filter(&physical);
            assert_eq!(seen(&space, &physical)[0xa4..0xa8], [0xff, 0xff, 0xff, 0xef]);
            let before = seen(&space, &physical);
            space.write(0xa8, &[0xff; 2]);
            assert_eq!(seen(&space, &physical), before, "Initiate FLR is not taken");
        }
    }

    #[test]
    fn msi_has_four_lengths() {
        let size = |low, high| msi_size(&[MSI, 0, low, high]);
        assert_eq!([size(0, 0), size(0x80, 0), size(0, 1), size(0x80, 1)], [0x0a, 0x0e, 0x14, 0x18]);
    }

    #[test]
    fn header_hides_intx_decode_and_the_other_functions() {
        let physical = igb();
        let seen = seen(&filter(&physical), &physical);
        assert_eq!(seen[..8], [0x86, 0x80, 0xc9, 0x10, 0, 0, 0x10, 0]);
        assert_eq!((seen[0x0e], seen[0x3c], seen[0x3d]), (0, 0, 0));
        assert_eq!(seen[0x10..0x2c], [0; 28]);
    }

    #[test]
    fn only_what_is_on_the_list_can_be_written() {
        let physical = igb();
        let mut space = filter(&physical);
        let before = seen(&space, &physical);
        for offset in 0..256 {
            space.write(offset, &[0xff]);
        }
        let after = seen(&space, &physical);
        let changed: Vec<(usize, u8)> =
            (0..256).map(|at| (at, before[at] ^ after[at])).filter(|(_, bits)| *bits != 0).collect();
        assert_eq!(changed, [(4, 0x46), (5, 0x05)]);
        assert_eq!(space.command(), COMMAND_BITS);
    }

    #[test]
    fn lists_that_loop_or_do_not_fit_are_cut() {
        let mut physical = [0; SIZE];
        physical[6] = HAS_LIST;
        physical[0x34] = 0x40;
        physical[0x40..0x42].copy_from_slice(&[MSI, 0x40]);
        let looped = seen(&filter(&physical), &physical);
        assert_eq!((looped[0x34], looped[0x41]), (0x40, 0));
        physical[0x41] = 0xf8;
        physical[0xf8..0xfa].copy_from_slice(&[MSIX, 0]);
        assert_eq!(seen(&filter(&physical), &physical)[0x41], 0);
        physical[6] = 0;
        let none = seen(&filter(&physical), &physical);
        assert_eq!((none[6], none[0x34]), (0, 0));
    }
}
