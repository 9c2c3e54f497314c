//! Which IRTE holds which interrupt of a device.

use pvir_abi::{Handle, Store};

/// The IRTE that holds each interrupt, by the entry whose interrupt it is. An MSI-X entry and the IMS entry that is
/// made of it have one interrupt, so only one of the two can be mapped.
///
/// Stores are small and used from index 0 on, so each is a row that reaches its last entry that was ever mapped. The
/// number of the device's entries bounds it.
#[derive(Debug, Default)]
pub(super) struct Holders {
    rows: [Vec<Handle>; 3],
}

/// Store and index of the entry whose interrupt it is.
pub(super) type Backing = (Store, u32);

#[inline]
fn row(store: Store) -> Option<usize> {
    match store {
        Store::MSI => Some(0),
        Store::MSIX => Some(1),
        Store::IMS => Some(2),
        _ => None,
    }
}

impl Holders {
    /// The IRTE that holds the interrupt of `backing`, if one does.
    #[inline]
    pub(super) fn get(&self, (store, index): Backing) -> Option<Handle> {
        let handle = *self.rows[row(store)?].get(index as usize)?;
        (handle != Handle::NONE).then_some(handle)
    }

    /// Gives it to `handle`.
    #[inline]
    pub(super) fn set(&mut self, (store, index): Backing, handle: Handle) {
        let Some(row) = row(store) else { return };
        let (row, index) = (&mut self.rows[row], index as usize);
        if index >= row.len() {
            row.resize((index + 1).next_power_of_two(), Handle::NONE);
        }
        row[index] = handle;
    }

    /// Takes the interrupt of `backing` from the IRTE that holds it, which is the answer.
    pub(super) fn clear(&mut self, (store, index): Backing) -> Option<Handle> {
        let held = self.rows[row(store)?].get_mut(index as usize)?;
        Some(std::mem::take(held)).filter(|handle| *handle != Handle::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_has_one_holder_at_a_time() {
        let mut holders = Holders::default();
        let (entry, other) = ((Store::MSIX, 9), (Store::IMS, 9));
        assert_eq!(holders.clear(entry), None);
        holders.set(entry, Handle::new(0, 1));
        assert_eq!((holders.get(entry), holders.get(other)), (Some(Handle::new(0, 1)), None));
        assert_eq!((holders.get((Store::MSIX, 8)), holders.get((Store::MSIX, 10))), (None, None));
        assert_eq!(holders.clear(entry), Some(Handle::new(0, 1)));
        assert_eq!((holders.get(entry), holders.clear(entry)), (None, None));
    }
}
