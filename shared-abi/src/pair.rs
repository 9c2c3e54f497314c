//! The pair: address and data of the message by which a device interrupts.

use core::fmt;

/// Address and data of one message, as they stand in an entry of the device's store.
///
/// The guest copies the pair and never looks into it. What its bits mean is for the host's remapping unit: on Intel
/// the address is in remappable format (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2 "Interrupt Requests in
/// Remappable Format"), on AMD it looks like a plain message whose data is an index into the device's own table (AMD
/// I/O Virtualization Technology Specification, 48882 Rev 3.11, section 2.2.5 "Interrupt Remapping Tables").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pair {
    /// The message address, 0xfee00000 to 0xfeefffff on x86 (statement M9).
    pub address: u64,
    /// The message data, of which 16 bits are used on x86 (statement M9).
    pub data: u32,
}

impl Pair {
    /// The index into the interrupt remapping table that a pair in Intel's remappable format names. `None` for a pair
    /// in any other format.
    ///
    /// Bits 19:5 of the address hold bits 14:0 of the handle, bit 2 holds bit 15. If bit 3 (SHV) is set, the low half
    /// of the data is added (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2 "Interrupt Requests in Remappable
    /// Format").
    #[must_use]
    pub fn intel_index(self) -> Option<u32> {
        let address = u32::try_from(self.address).ok()?;
        if address >> 20 != 0xfee || address & 0x10 == 0 {
            return None;
        }
        let base = address >> 5 & 0x7fff | (address >> 2 & 1) << 15;
        let sub = if address & 8 != 0 { self.data & 0xffff } else { 0 };
        Some(base + sub)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}/{:#06x}", self.address, self.data)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intel_index_follows_figure_5_2() {
        let index = |address, data| Pair { address, data }.intel_index();
        assert_eq!(index(0xfee0_0298, 0), Some(0x14));
        assert_eq!(index(0xfee0_0298, 3), Some(0x17));
        assert_eq!(index(0xfeef_fff4, 9), Some(0xffff));
        assert_eq!(index(0xfee0_0008, 0), None);
        assert_eq!(index(0x1_fee0_0298, 0), None);
    }
}
