//! The layout of a slot, in which a device finds the message of an IMS entry.

/// Where in a slot a device finds the parts of a message. Offsets and lengths count words of 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ImsLayout {
    /// Length of a slot, which is also the distance from one slot to the next.
    pub len: usize,
    /// Offset of the low half of the address.
    pub address_low: usize,
    /// Offset of the high half of the address. `None` where the device has no such word and takes the half for zero.
    pub address_high: Option<usize>,
    /// Offset of the data.
    pub data: usize,
    /// The control word. `None` where the device cannot mask a message.
    pub control: Option<ImsControl>,
}

/// The control word of a slot, which has the mask bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ImsControl {
    /// Offset of the control word.
    pub offset: usize,
    /// The bit that masks the message when it is set. The other bits of the word are kept.
    pub mask: u32,
}

impl ImsControl {
    /// The control word at `offset`, whose mask is these bits.
    #[must_use]
    pub const fn new(offset: usize, mask: u32) -> Self {
        Self { offset, mask }
    }
}

impl ImsLayout {
    /// Slots of `len` words, with the low half of the address and the data at these offsets: no high half, no mask.
    #[must_use]
    pub const fn new(len: usize, address_low: usize, data: usize) -> Self {
        Self { len, address_low, address_high: None, data, control: None }
    }

    /// The same layout, with the high half of the address at `offset`.
    #[must_use]
    pub const fn with_address_high(self, offset: usize) -> Self {
        Self { address_high: Some(offset), ..self }
    }

    /// The same layout, with a control word.
    #[must_use]
    pub const fn with_control(self, control: ImsControl) -> Self {
        Self { control: Some(control), ..self }
    }

    /// The layout of an entry of an MSI-X table: address low, address high, data, control with the mask in bit 0
    /// (PCI Express Base Specification 6.0, section 7.7.2.6 "MSI-X Table Structure").
    pub const LIKE_MSIX: Self = Self::new(4, 0, 2).with_address_high(1).with_control(ImsControl::new(3, 1));

    /// Whether every word lies in the slot, no two at the same place, and a control word has a mask.
    pub(super) fn is_sound(&self) -> bool {
        let control = self.control.map(|control| control.offset);
        let words = [Some(self.address_low), self.address_high, Some(self.data), control];
        let mut rest = words.iter().flatten();
        let mut apart = true;
        while let Some(word) = rest.next() {
            apart &= *word < self.len && rest.clone().all(|other| other != word);
        }
        apart && self.control.is_none_or(|control| control.mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_in_the_slot_and_apart() {
        let good = ImsLayout::LIKE_MSIX;
        assert!(good.is_sound());
        assert!(ImsLayout { len: 3, control: None, ..good }.is_sound());
        assert!(!ImsLayout { len: 3, ..good }.is_sound());
        assert!(!ImsLayout { data: 1, ..good }.is_sound());
        assert!(!ImsLayout { control: Some(ImsControl { offset: 0, mask: 1 }), ..good }.is_sound());
        assert!(!ImsLayout { control: Some(ImsControl { offset: 3, mask: 0 }), ..good }.is_sound());
    }
}
