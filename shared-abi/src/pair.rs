//! The pair: the message that a device sends.

use core::fmt;

/// Address and data of one message, as they stand in the device's store.
///
/// The guest copies the pair and nothing more. What the bits mean is the host's business: on Intel the address is in
/// remappable format (Intel VT-d Specification, Rev. 5.10, section 5.1.2.2 "Interrupt Requests in Remappable
/// Format"), on AMD it looks like a plain message whose data is an index into the device's own table (AMD I/O
/// Virtualization Technology Specification, 48882 Rev 3.11, section 2.2.5 "Interrupt Remapping Tables").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pair {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
}

impl Pair {
    /// The index into the remapping table of an address in Intel's remappable format, or `None` in any other
    /// format. Bits 19:5 hold index 14:0, bit 2 holds index 15; with SHV (bit 3) the data's low half is added.
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
