//! The registers of an emulated store as a snapshot has them.

use super::msi::MAX_LEN;
use super::{EmulatedMsi, EmulatedMsix, EmulatedStore};
use serde::{Deserialize, Serialize};

/// What a guest has written into an emulated store: plain numbers for a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmulatedRegisters(Kind);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Kind {
    /// Message control, and the four words of each entry.
    Msix { control: u16, entries: Vec<[u32; 4]> },
    /// The bytes of the capability, from its id on.
    Msi([u8; MAX_LEN]),
}

impl EmulatedStore {
    /// The registers, for a snapshot.
    #[must_use]
    pub fn save(&self) -> EmulatedRegisters {
        EmulatedRegisters(match self {
            Self::Msix(table) => {
                let (entries, control) = table.words();
                Kind::Msix { control, entries: entries.to_vec() }
            }
            Self::Msi(capability) => Kind::Msi(*capability.bytes()),
        })
    }

    /// Whether these registers are of a store of this form, and a guest can have written them.
    #[must_use]
    pub fn takes(&self, registers: &EmulatedRegisters) -> bool {
        self.with(registers).is_some()
    }

    /// Sets the registers to what [`save`](Self::save) has saved. Answers `false`, and changes nothing, if they are none
    /// that this store [`takes`](Self::takes).
    #[must_use]
    pub fn restore(&mut self, registers: &EmulatedRegisters) -> bool {
        match self.with(registers) {
            Some(restored) => {
                *self = restored;
                true
            }
            None => false,
        }
    }

    fn with(&self, EmulatedRegisters(kind): &EmulatedRegisters) -> Option<Self> {
        match (self, kind) {
            (Self::Msix(table), Kind::Msix { control, entries }) => {
                let restored = EmulatedMsix::of_words(entries, *control)?;
                (restored.entries() == table.entries()).then_some(Self::Msix(restored))
            }
            (Self::Msi(capability), Kind::Msi(bytes)) => {
                EmulatedMsi::of_bytes(capability.shape(), bytes).map(Self::Msi)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::StoreShape;
    use crate::pci::MsiShape;
    use crate::trapped::StoreArea;

    const MSI: StoreShape = StoreShape::Msi(MsiShape { wide: true, maskable: true, messages_log2: 3 });

    fn written(shape: StoreShape) -> EmulatedStore {
        let mut store = EmulatedStore::new(shape).unwrap();
        for offset in (0..0x30).step_by(4) {
            store.write(StoreArea::Table, offset, &[0xff; 4]);
        }
        (2..0x18).for_each(|offset| _ = store.write(StoreArea::Capability, offset, &[0xff]));
        store
    }

    #[test]
    fn what_a_guest_has_written_comes_back() {
        for shape in [StoreShape::Msix(3), MSI] {
            let store = written(shape);
            let mut other = EmulatedStore::new(shape).unwrap();
            assert_ne!(other.save(), store.save());
            assert!(other.restore(&store.save()));
            assert_eq!(other.save(), store.save());
        }
    }

    #[test]
    fn registers_of_another_store_are_refused() {
        let mut three = EmulatedStore::new(StoreShape::Msix(3)).unwrap();
        let mut msi = EmulatedStore::new(MSI).unwrap();
        assert!(!three.restore(&written(StoreShape::Msix(4)).save()) && !three.restore(&written(MSI).save()));
        assert!(!msi.restore(&three.save()));
        let narrow = StoreShape::Msi(MsiShape { wide: false, maskable: true, messages_log2: 3 });
        assert!(!msi.restore(&written(narrow).save()));
    }

    #[test]
    fn what_no_guest_can_write_is_refused() {
        let mut table = EmulatedStore::new(StoreShape::Msix(2)).unwrap();
        let with = |control, last| {
            EmulatedRegisters(Kind::Msix { control, entries: vec![[0, 0, 0, 1], [1, 2, 3, last]] })
        };
        assert!(table.restore(&with(0x8001, 0)));
        assert!(!table.restore(&with(0x8001, 2)), "a reserved bit of vector control");
        assert!(!table.restore(&with(0x8000, 0)) && !table.restore(&with(0x9001, 0)), "read-only bits");
        let msi = EmulatedStore::new(MSI).unwrap();
        let Kind::Msi(good) = msi.save().0 else { unreachable!() };
        for byte in 0..MAX_LEN {
            let mut bytes = good;
            bytes[byte] ^= 0x80;
            let writable = (4..0x0e).contains(&byte) || byte == 0x10;
            assert_eq!(msi.takes(&EmulatedRegisters(Kind::Msi(bytes))), writable, "byte {byte:#x}");
        }
    }
}
