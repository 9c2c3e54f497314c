//! An entry of a device's store in one of three states, so that the wrong order does not compile (statement W2):
//!
//! ```text
//!            program(irte)               unmask
//!   Masked -----------------> Programmed --------> Live
//!          <-----------------            <--------
//!            retire: irte                  mask
//! ```
//!
//! A programmed or live entry owns its [`Irte`] and gives it out by [`Entry::retire`] alone. So nobody can unmap an
//! IRTE whose pair a live entry still sends.

use crate::irte::sealed::Sealed;
use crate::{Irte, Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// The state of an entry that is masked and whose pair means nothing.
#[derive(Debug)]
pub struct Masked;

/// The state of an entry that is masked, and holds the pair of an IRTE that was written and read back.
#[derive(Debug)]
pub struct Programmed {
    irte: Irte,
}

/// The state of an entry that is unmasked: the device sends its message.
#[derive(Debug)]
pub struct Live {
    irte: Irte,
}

/// One entry of a device's store, owned: `T` reaches it, and `S` is its state, [`Masked`], [`Programmed`] or
/// [`Live`].
///
/// An entry is masked when it is dropped, if its `T` masks it then, as those of MSI-X and MSI do. The IRTE in it
/// stays allocated on the host: prefer [`Entry::retire`] and [`Remapping::unmap`](crate::Remapping::unmap).
#[must_use = "an entry that is dropped is masked"]
#[derive(Debug)]
pub struct Entry<T, S> {
    store: T,
    state: S,
}

/// Why an entry could not be programmed or masked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The IRTE belongs to another entry.
    #[error("{entry} cannot take the IRTE of {irte}")]
    OtherEntry {
        /// The entry.
        entry: Origin,
        /// The entry that the IRTE was mapped for.
        irte: Origin,
    },
    /// The device does not keep the pair that was written.
    #[error("{entry}: wrote pair {wrote}, read back {read}")]
    ReadBack {
        /// The entry.
        entry: Origin,
        /// The pair that was written.
        wrote: Pair,
        /// The pair that was read.
        read: Pair,
    },
    /// The entry does not stay masked.
    #[error("{entry} does not stay masked")]
    NotMasked {
        /// The entry.
        entry: Origin,
    },
}

/// The error of [`Entry::program`], with everything that went into it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct ProgramFailed<T> {
    /// The entry, still masked.
    pub entry: Entry<T, Masked>,
    /// The IRTE, unused.
    pub irte: Irte,
    /// Why the entry could not be programmed.
    pub error: StoreError,
}

/// The error of [`Entry::mask`], with the entry, which may still send.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct MaskFailed<T> {
    /// The entry, as it was.
    pub entry: Entry<T, Live>,
    /// Why the entry could not be masked.
    pub error: StoreError,
}

impl<T> From<ProgramFailed<T>> for StoreError {
    /// The error alone. Entry and IRTE are dropped: the entry is masked, the IRTE stays allocated on the host.
    fn from(failed: ProgramFailed<T>) -> Self {
        failed.error
    }
}

impl<T> From<MaskFailed<T>> for StoreError {
    /// The error alone. The entry is dropped.
    fn from(failed: MaskFailed<T>) -> Self {
        failed.error
    }
}

/// Sets the mask without looking at it first, because a write costs less than a read. Fails if it does not stay set.
fn mask(store: &impl StoreEntry) -> Result<(), StoreError> {
    store.set_mask(Mask::Set);
    match store.mask() {
        Some(Mask::Clear) => Err(StoreError::NotMasked { entry: store.origin() }),
        Some(Mask::Set) | None => Ok(()),
    }
}

impl<T: StoreEntry, S> Entry<T, S> {
    /// The device, the store and the index of this entry.
    pub fn origin(&self) -> Origin {
        self.store.origin()
    }

    /// Whether the device holds an interrupt of this entry as pending. `None` if the store does not tell.
    pub fn is_pending(&self) -> Option<bool> {
        self.store.is_pending()
    }
}

impl<T: StoreEntry> Entry<T, Masked> {
    /// Takes possession of an entry that `store` reaches, and masks it.
    ///
    /// # Errors
    /// [`StoreError::NotMasked`]. The store is dropped.
    pub fn claim(store: T) -> Result<Self, StoreError> {
        mask(&store)?;
        Ok(Self { store, state: Masked })
    }

    /// Writes the pair of `irte` into the entry, reads it back and compares.
    ///
    /// # Errors
    /// [`StoreError::OtherEntry`], [`StoreError::NotMasked`], [`StoreError::ReadBack`]. Entry and IRTE come back with
    /// it.
    pub fn program(mut self, irte: Irte) -> Result<Entry<T, Programmed>, ProgramFailed<T>> {
        match self.write(&irte) {
            Ok(()) => Ok(Entry { store: self.store, state: Programmed { irte } }),
            Err(error) => Err(ProgramFailed { entry: self, irte, error }),
        }
    }

    fn write(&mut self, irte: &Irte) -> Result<(), StoreError> {
        let entry = self.store.origin();
        if entry != irte.origin {
            return Err(StoreError::OtherEntry { entry, irte: irte.origin });
        }
        // MAP may have passed since the entry was claimed, and an old host may have left it unmasked.
        mask(&self.store)?;
        self.store.write(irte.pair);
        let read = self.store.read();
        if read == irte.pair { Ok(()) } else { Err(StoreError::ReadBack { entry, wrote: irte.pair, read }) }
    }

    /// Gives up possession of the entry, which stays masked.
    pub fn release(self) -> T {
        self.store
    }
}

impl<T: StoreEntry> Entry<T, Programmed> {
    /// Unmasks the entry: the device may send, and sends what is pending.
    pub fn unmask(self) -> Entry<T, Live> {
        self.store.set_mask(Mask::Clear);
        Entry { store: self.store, state: Live { irte: self.state.irte } }
    }

    /// Takes the IRTE out of the entry, to be unmapped or replaced.
    pub fn retire(self) -> (Entry<T, Masked>, Irte) {
        (Entry { store: self.store, state: Masked }, self.state.irte)
    }
}

impl<T: StoreEntry> Entry<T, Live> {
    /// Masks the entry and leaves it live, as the `irq_mask` of a kernel's `irq_chip` does: what the device raises is
    /// pending until [`Entry::unmask_in_place`]. The mask is read back, which pushes out what was sent before.
    ///
    /// It takes no lock and makes no call, so it may be done in an interrupt handler, on any CPU, also while a call on
    /// the same entry's IRTE is under way. The pair cannot be written meanwhile, because that takes the entry by value.
    ///
    /// A store without a mask is left as it is.
    ///
    /// # Errors
    /// [`StoreError::NotMasked`].
    pub fn mask_in_place(&self) -> Result<(), StoreError> {
        mask(&self.store)
    }

    /// Ends what [`Entry::mask_in_place`] began: the device sends what is pending.
    pub fn unmask_in_place(&self) {
        self.store.set_mask(Mask::Clear);
    }

    /// Whether the entry is masked in place. `None` if the store cannot mask.
    pub fn is_masked(&self) -> Option<bool> {
        self.store.mask().map(|mask| mask == Mask::Set)
    }

    /// Masks the entry: the device sends no more. The mask is read back, which pushes out what was sent before.
    ///
    /// # Errors
    /// [`StoreError::NotMasked`]. The entry comes back with it.
    pub fn mask(self) -> Result<Entry<T, Programmed>, MaskFailed<T>> {
        match mask(&self.store) {
            Ok(()) => Ok(Entry { store: self.store, state: Programmed { irte: self.state.irte } }),
            Err(error) => Err(MaskFailed { entry: self, error }),
        }
    }
}

macro_rules! holds_irte {
    ($($state:ty),*) => { $(
        impl<T: StoreEntry> Entry<T, $state> {
            /// The IRTE with which the entry was programmed.
            pub const fn irte(&self) -> &Irte {
                &self.state.irte
            }
        }

        impl<T: StoreEntry> Sealed for Entry<T, $state> {
            fn irte(&self) -> &Irte {
                &self.state.irte
            }

            fn irte_mut(&mut self) -> &mut Irte {
                &mut self.state.irte
            }
        }
    )* };
}

holds_irte!(Programmed, Live);
