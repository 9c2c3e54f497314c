//! An entry in RAM, as a driver of a device with IMS would write one, which checks the order of what is done to it.

use crate::{Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// An entry that panics when its pair is written while it is not masked, and when it is unmasked before the pair was
/// read back.
#[derive(Debug)]
pub struct FakeStore {
    origin: Origin,
    pair: Pair,
    mask: core::cell::Cell<Option<Mask>>,
    read_back: core::cell::Cell<bool>,
    stuck_address_bits: u64,
    mask_is_stuck: bool,
}

impl FakeStore {
    /// An entry with a mask, which is clear.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            pair: Pair::default(),
            mask: Some(Mask::Clear).into(),
            read_back: core::cell::Cell::new(false),
            stuck_address_bits: 0,
            mask_is_stuck: false,
        }
    }

    /// An entry without a mask.
    #[must_use]
    pub fn without_mask(origin: Origin) -> Self {
        Self { mask: None.into(), ..Self::new(origin) }
    }

    /// The same entry, of whose address these bits stay zero whatever is written.
    #[must_use]
    pub fn with_stuck_address_bits(self, bits: u64) -> Self {
        Self { stuck_address_bits: bits, ..self }
    }

    /// The same entry, whose mask keeps its value whatever is written.
    #[must_use]
    pub fn with_stuck_mask(self) -> Self {
        Self { mask_is_stuck: true, ..self }
    }
}

impl StoreEntry for FakeStore {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        assert_ne!(
            self.mask.get(),
            Some(Mask::Clear),
            "statement W2: address and data are written only while masked"
        );
        self.read_back.set(false);
        self.pair = Pair { address: pair.address & !self.stuck_address_bits, ..pair };
    }

    fn read(&self) -> Pair {
        self.read_back.set(true);
        self.pair
    }

    fn set_mask(&self, mask: Mask) {
        if mask == Mask::Clear {
            assert!(self.read_back.get(), "statement W2: read back before it is unmasked");
        }
        if !self.mask_is_stuck && self.mask.get().is_some() {
            self.mask.set(Some(mask));
        }
    }

    fn mask(&self) -> Option<Mask> {
        self.mask.get()
    }

    fn is_pending(&self) -> Option<bool> {
        None
    }
}
