//! The MSI, MSI-X and PCI Express capabilities in a function's configuration space.
//!
//! The values come from a device, so each is checked against the range that it must be in (PCI Express Base
//! Specification 6.0, sections 7.7.1 "MSI Capability Structures" and 7.7.2 "MSI-X Capability and Table Structure").

use super::MsiShape;

/// Capability ids.
pub(super) const POWER_MANAGEMENT: u8 = 0x01;
pub(super) const MSI: u8 = 0x05;
pub(super) const VENDOR_SPECIFIC: u8 = 0x09;
pub(super) const PCI_EXPRESS: u8 = 0x10;
pub(super) const MSIX: u8 = 0x11;
pub(super) const ADVANCED_FEATURES: u8 = 0x13;
/// Length of the MSI-X capability in bytes.
pub(super) const MSIX_LEN: u8 = 12;
/// Bytes of one MSI-X table entry.
pub(crate) const ENTRY_LEN: u64 = 16;

/// The MSI-X capability of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MsixCapability {
    /// Offset of the capability in configuration space, in bytes.
    pub offset: u16,
    /// Number of table entries, 1 to 2048.
    pub entries: u32,
    /// Number of the BAR that holds the table, 0 to 5.
    pub table_bar: u8,
    /// Offset of the table in that BAR, in bytes.
    pub table_offset: u64,
    /// Number of the BAR that holds the pending bit array, 0 to 5.
    pub pba_bar: u8,
    /// Offset of the pending bit array in that BAR, in bytes.
    pub pba_offset: u64,
}

/// The MSI capability of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MsiCapability {
    /// Offset of the capability in configuration space, in bytes.
    pub offset: u16,
    /// The form of the capability: address width, mask bits, number of messages.
    pub shape: MsiShape,
}

impl MsixCapability {
    /// Length of the capability in bytes.
    pub(crate) const LEN: u16 = MSIX_LEN as u16;
}

impl MsiCapability {
    /// Offset of the data register in configuration space, in bytes.
    #[must_use]
    pub fn data_offset(&self) -> u16 {
        self.offset + u16::from(self.shape.data())
    }

    /// Length of the capability in bytes.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.shape.size().into()
    }
}

/// The first 256 bytes of a device's config space.
pub(crate) struct ConfigHeader<'a>(pub(crate) &'a [u8; 256]);

impl ConfigHeader<'_> {
    fn word(&self, offset: u16) -> u16 {
        let at = usize::from(offset & 0xfe);
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn dword(&self, offset: u16) -> u32 {
        u32::from(self.word(offset)) | u32::from(self.word(offset + 2)) << 16
    }

    /// Offset of the first capability with this id. A list that loops ends.
    fn find(&self, id: u8) -> Option<u16> {
        const STATUS: u16 = 0x06;
        const HAS_LIST: u16 = 1 << 4;
        const FIRST: usize = 0x34;
        if self.word(STATUS) & HAS_LIST == 0 {
            return None;
        }
        let mut at = self.0[FIRST] & 0xfc;
        // 48 capabilities of 4 bytes fill the space behind the header.
        for _ in 0..48 {
            if at < 0x40 {
                return None;
            }
            if self.0[usize::from(at)] == id {
                return Some(u16::from(at));
            }
            at = self.0[usize::from(at) + 1] & 0xfc;
        }
        None
    }

    /// The device or port type of a PCI Express function (7.5.3.2 "PCI Express Capabilities Register").
    pub(crate) fn port_type(&self) -> Option<u8> {
        let flags = self.word(self.find(PCI_EXPRESS)? + 2);
        Some(flags.to_le_bytes()[0] >> 4)
    }

    /// Whether the function has phantom functions and they are switched on (7.5.3.3 "Device Capabilities Register",
    /// 7.5.3.4 "Device Control Register").
    pub(crate) fn phantom_functions(&self) -> bool {
        const SUPPORTED: u32 = 3 << 3;
        const ENABLE: u16 = 1 << 9;
        self.find(PCI_EXPRESS).filter(|offset| *offset <= 0x100 - 12).is_some_and(|offset| {
            self.dword(offset + 4) & SUPPORTED != 0 && self.word(offset + 8) & ENABLE != 0
        })
    }

    /// Whether the PCI Express capability offers a function level reset (7.5.3.3 "Device Capabilities Register").
    pub(super) fn offers_reset(&self) -> bool {
        const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
        self.find(PCI_EXPRESS)
            .filter(|offset| *offset <= 0x100 - 8)
            .is_some_and(|offset| self.dword(offset + 4) & FUNCTION_LEVEL_RESET != 0)
    }

    /// The MSI-X capability, if there is one that lies inside config space.
    pub(crate) fn msix(&self) -> Option<MsixCapability> {
        let offset = self.find(MSIX).filter(|offset| *offset <= 0x100 - 12)?;
        let (table, pba) = (self.dword(offset + 4), self.dword(offset + 8));
        Some(MsixCapability {
            offset,
            entries: u32::from(self.word(offset + 2) & 0x7ff) + 1,
            table_bar: (table & 7) as u8,
            table_offset: u64::from(table & !7),
            pba_bar: (pba & 7) as u8,
            pba_offset: u64::from(pba & !7),
        })
    }

    /// The MSI capability, if there is one that lies inside config space.
    pub(crate) fn msi(&self) -> Option<MsiCapability> {
        let offset = self.find(MSI)?;
        let control = self.word(offset + 2);
        let shape = MsiShape {
            wide: control & 1 << 7 != 0,
            maskable: control & 1 << 8 != 0,
            messages_log2: (control >> 1 & 7).to_le_bytes()[0].min(5),
        };
        let capability = MsiCapability { offset, shape };
        (offset + capability.size() <= 0x100).then_some(capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(capabilities: &[(u8, &[u8])]) -> [u8; 256] {
        let mut bytes = [0; 256];
        bytes[6] = 0x10;
        let mut link = 0x34;
        for (at, capability) in capabilities {
            bytes[link] = *at;
            bytes[usize::from(*at)..][..capability.len()].copy_from_slice(capability);
            link = usize::from(*at) + 1;
        }
        bytes
    }

    #[test]
    fn msix_of_an_82576() {
        let bytes = config(&[(0x50, &[5, 0, 0x80, 1]), (0x70, &[0x11, 0, 9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0])]);
        let header = ConfigHeader(&bytes);
        let msix = header.msix().unwrap();
        let expected = MsixCapability {
            offset: 0x70,
            entries: 10,
            table_bar: 3,
            table_offset: 0,
            pba_bar: 3,
            pba_offset: 0x2000,
        };
        assert_eq!(msix, expected);
        let msi = header.msi().unwrap();
        assert_eq!((msi.shape.wide, msi.shape.maskable, msi.shape.messages_log2), (true, true, 0));
        assert_eq!((msi.data_offset(), msi.size()), (0x5c, 0x18));
    }

    #[test]
    fn the_largest_table_has_2048_entries() {
        let bytes = config(&[(0x40, &[0x11, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0])]);
        assert_eq!(ConfigHeader(&bytes).msix().unwrap().entries, 2048);
    }

    #[test]
    fn a_list_that_loops_or_leaves_config_space_ends() {
        let mut bytes = config(&[(0x40, &[1, 0x40])]);
        assert_eq!(ConfigHeader(&bytes).msix(), None);
        bytes[0x41] = 0xf8;
        bytes[0xf8] = 0x11;
        assert_eq!(ConfigHeader(&bytes).msix(), None, "12 bytes do not fit at 0xf8");
        bytes[0xf8] = 0x05;
        bytes[0xfa] = 0x80;
        assert_eq!(ConfigHeader(&bytes).msi(), None, "14 bytes do not fit at 0xf8");
    }

    #[test]
    fn without_a_list_there_is_nothing() {
        assert_eq!(ConfigHeader(&[0xff; 256]).msi(), None);
        assert_eq!(ConfigHeader(&[0; 256]).msix(), None);
    }
}
