//! What a guest is not shown of a host device: the other side of the allow-list of its configuration space.

use super::capability::{
    ADVANCED_FEATURES, ConfigHeader, MSI, MSIX, PCI_EXPRESS, POWER_MANAGEMENT, VENDOR_SPECIFIC,
};
use super::config::{HeldCapability, held_capabilities};
use std::collections::BTreeSet;
use std::fmt;

/// The port bit of a BAR register, and the bits of a memory BAR that has 64 bits (PCI Express Base Specification 6.0,
/// section 7.5.1.2.1 "Base Address Registers").
const IO: u8 = 1;
const WIDE: (u8, u8) = (0b111, 0b100);
const BARS: usize = 0x10;
const OPTION_ROM: usize = 0x30;
/// Where extended capabilities begin (section 7.6 "PCI Express Extended Capabilities").
const EXTENDED: u16 = 0x100;

/// Something that a host device has and its guest is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HiddenPart {
    /// A capability.
    Capability {
        /// Its id, as in the PCI Code and ID Assignment Specification, Rev. 1.15, section 2.
        id: u8,
        /// Its offset in configuration space, in bytes.
        offset: u16,
    },
    /// A PCI Express extended capability.
    ExtendedCapability {
        /// Its id, as in the PCI Code and ID Assignment Specification, Rev. 1.15, section 3.
        id: u16,
        /// Its offset in configuration space, in bytes.
        offset: u16,
    },
    /// The function level reset that the PCI Express capability offers, where the host cannot reset the function.
    FunctionLevelReset,
    /// A BAR of ports.
    PortBar(u8),
    /// The expansion ROM.
    OptionRom,
}

impl fmt::Display for HiddenPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Capability { id, offset } => match capability_name(id) {
                Some(name) => write!(f, "{name} (at {offset:#x})"),
                None => write!(f, "capability {id:#04x} (at {offset:#x})"),
            },
            Self::ExtendedCapability { id, offset } => match extended_name(id) {
                Some(name) => write!(f, "{name} (at {offset:#x})"),
                None => write!(f, "extended capability {id:#06x} (at {offset:#x})"),
            },
            Self::FunctionLevelReset => f.write_str("function level reset"),
            Self::PortBar(bar) => write!(f, "I/O BAR{bar}"),
            Self::OptionRom => f.write_str("option ROM"),
        }
    }
}

/// What is hidden of a device with this configuration space: its first 256 bytes, or all 4096. `resets` says whether the
/// host can reset the function.
pub(crate) fn hidden_parts(config: &[u8], resets: bool) -> Vec<HiddenPart> {
    let Some(header) = config.first_chunk() else { return Vec::new() };
    let mut parts: Vec<HiddenPart> = held_capabilities(header, resets)
        .into_iter()
        .filter(|capability| !capability.shown)
        .map(|HeldCapability { id, at, .. }| HiddenPart::Capability { id, offset: at.into() })
        .collect();
    let hidden_reset = !resets && ConfigHeader(header).offers_reset();
    parts.extend(hidden_reset.then_some(HiddenPart::FunctionLevelReset));
    parts.extend(extended_capabilities(config));
    parts.extend(port_bars(header).map(HiddenPart::PortBar));
    let rom = header[OPTION_ROM..OPTION_ROM + 4].iter().zip([0xfe, 0xff, 0xff, 0xff]);
    parts.extend(rom.map(|(byte, mask)| byte & mask).any(|byte| byte != 0).then_some(HiddenPart::OptionRom));
    parts
}

fn port_bars(header: &[u8; 256]) -> impl Iterator<Item = u8> {
    let mut upper_half = false;
    (0..6_u8).filter(move |bar| {
        let register = header[BARS + usize::from(*bar) * 4];
        let skipped = upper_half;
        upper_half = !skipped && register & WIDE.0 == WIDE.1;
        !skipped && register & IO != 0
    })
}

/// Those of the list; one that loops or leaves configuration space ends.
fn extended_capabilities(config: &[u8]) -> Vec<HiddenPart> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = EXTENDED;
    while at >= EXTENDED && seen.insert(at) {
        let bytes = config.get(usize::from(at)..).and_then(|bytes| bytes.first_chunk());
        let Some(bytes) = bytes else { break };
        let word = u32::from_le_bytes(*bytes);
        let [id_low, id_high, link_low, link_high] = *bytes;
        let id = u16::from_le_bytes([id_low, id_high]);
        // VFIO puts a zero in the place of what it hides itself, and keeps the link.
        if word == 0 || word == u32::MAX {
            break;
        }
        if id != 0 {
            found.push(HiddenPart::ExtendedCapability { id, offset: at });
        }
        at = u16::from_le_bytes([link_low, link_high]) >> 4 & 0xffc;
    }
    found
}

/// PCI Code and ID Assignment Specification, Rev. 1.15, section 2 "Capability IDs".
fn capability_name(id: u8) -> Option<&'static str> {
    Some(match id {
        POWER_MANAGEMENT => "power management",
        0x02 => "AGP",
        0x03 => "VPD",
        0x04 => "slot identification",
        MSI => "MSI beside MSI-X",
        0x06 => "CompactPCI hot swap",
        0x07 => "PCI-X",
        0x08 => "HyperTransport",
        VENDOR_SPECIFIC => "vendor-specific capability that is malformed",
        0x0a => "debug port",
        0x0d => "subsystem ids of a bridge",
        PCI_EXPRESS => "PCI Express",
        MSIX => "MSI-X",
        0x12 => "SATA configuration",
        ADVANCED_FEATURES => "advanced features with function level reset",
        0x14 => "enhanced allocation",
        _ => return None,
    })
}

/// PCI Code and ID Assignment Specification, Rev. 1.15, section 3 "Extended Capability IDs".
fn extended_name(id: u16) -> Option<&'static str> {
    Some(match id {
        0x01 => "error reporting (AER)",
        0x02 | 0x09 => "virtual channels",
        0x03 => "serial number",
        0x04 => "power budgeting",
        0x0b => "vendor-specific extended capability",
        0x0d => "ACS",
        0x0e => "ARI",
        0x0f => "ATS",
        0x10 => "SR-IOV",
        0x12 => "multicast",
        0x13 => "page requests (PRI)",
        0x15 => "resizable BARs",
        0x16 => "dynamic power allocation",
        0x17 => "TPH",
        0x18 => "LTR",
        0x19 => "secondary PCI Express",
        0x1b => "PASID",
        0x1e => "L1 substates",
        0x1f => "precision time measurement",
        0x23 => "designated vendor-specific extended capability",
        0x25 => "data link features",
        0x26 => "16 GT/s physical layer",
        0x27 => "lane margining",
        0x2a => "32 GT/s physical layer",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Vec<u8> {
        let mut config = vec![0; 4096];
        config[6] = 0x10;
        config[0x34] = 0x40;
        // Power management, MSI, MSI-X, PCI Express with a function level reset, VPD, one that nobody knows.
        config[0x40..0x44].copy_from_slice(&[1, 0x50, 0x23, 0xc8]);
        config[0x50..0x54].copy_from_slice(&[5, 0x70, 0x80, 1]);
        config[0x70..0x74].copy_from_slice(&[0x11, 0xa0, 9, 0x80]);
        config[0xa0..0xa8].copy_from_slice(&[0x10, 0xe0, 2, 0, 0, 0, 0, 0x10]);
        config[0xe0..0xe2].copy_from_slice(&[3, 0xf0]);
        config[0xf0..0xf2].copy_from_slice(&[0x77, 0]);
        config
    }

    fn said(config: &[u8]) -> Vec<String> {
        hidden_parts(config, false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_hidden_has_a_name_and_a_place() {
        let mut config = config();
        config[0x100..0x104].copy_from_slice(&0x1401_0001_u32.to_le_bytes());
        config[0x140..0x144].copy_from_slice(&0x1501_0000_u32.to_le_bytes());
        config[0x150..0x154].copy_from_slice(&0x0001_0099_u32.to_le_bytes());
        // 64 bits in BAR0 and BAR1, whose upper half is no BAR of ports; ports in BAR2.
        config[0x10] = 0b1100;
        config[0x14] = 1;
        config[0x18] = 1;
        config[0x32] = 0xc0;
        assert_eq!(
            said(&config),
            [
                "MSI beside MSI-X (at 0x50)",
                "VPD (at 0xe0)",
                "capability 0x77 (at 0xf0)",
                "function level reset",
                "error reporting (AER) (at 0x100)",
                "extended capability 0x0099 (at 0x150)",
                "I/O BAR2",
                "option ROM"
            ]
        );
    }

    #[test]
    fn a_reset_that_the_host_can_do_is_not_hidden() {
        let config = config();
        let hidden = |resets| hidden_parts(&config, resets).contains(&HiddenPart::FunctionLevelReset);
        assert!(hidden(false) && !hidden(true));
    }

    #[test]
    fn a_short_or_looping_configuration_space_ends() {
        let mut config = config();
        let hidden_parts = |config: &[u8]| hidden_parts(config, false);
        assert_eq!(hidden_parts(&config[..64]), [], "what a user without privilege may read");
        assert_eq!(hidden_parts(&config[..256]).len(), 4);
        config[0x100..0x104].copy_from_slice(&0x1001_0001_u32.to_le_bytes());
        assert_eq!(hidden_parts(&config).len(), 5);
        config[0x100..0x104].copy_from_slice(&[0xff; 4]);
        assert_eq!(hidden_parts(&config).len(), 4);
    }
}
