//! An entry of a store in one of three states, so that the wrong order cannot be written (statement W2):
//!
//! ```text
//!            program(irte)               unmask
//!   Masked -----------------> Programmed --------> Live
//!          <-----------------            <--------
//!            retire: irte                  mask
//! ```
//!
//! A programmed or live entry owns its [`Irte`]. It gives it out by [`Entry::retire`] alone, so that nobody can unmap
//! what a live entry still sends.

use crate::irte::sealed::Sealed;
use crate::{Irte, Mask, Origin, StoreEntry};
use core::fmt;
use pvir_abi::Pair;

/// Masked, its pair meaningless.
#[derive(Debug)]
pub struct Masked;

/// Masked, with the pair of an IRTE written and read back.
#[derive(Debug)]
pub struct Programmed {
    irte: Irte,
}

/// Unmasked: the device sends.
#[derive(Debug)]
pub struct Live {
    irte: Irte,
}

/// One entry of a store, owned by whoever holds this.
///
/// Dropping it masks it, as long as the store itself does when it is dropped (MSI-X and MSI do). The IRTE in it then
/// stays allocated on the host: prefer [`Entry::retire`] and unmap.
#[must_use = "an entry that is dropped is masked"]
#[derive(Debug)]
pub struct Entry<T, S> {
    store: T,
    state: S,
}

/// Why an entry could not be programmed or masked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The IRTE belongs to another entry.
    OtherEntry {
        /// This entry.
        entry: Origin,
        /// The IRTE's.
        irte: Origin,
    },
    /// What was read back is not what was written.
    ReadBack {
        /// This entry.
        entry: Origin,
        /// The pair that was written.
        wrote: Pair,
        /// The pair that was read.
        read: Pair,
    },
    /// The mask cannot be set.
    NotMasked {
        /// This entry.
        entry: Origin,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherEntry { entry, irte } => write!(f, "{entry} cannot take the IRTE of {irte}"),
            Self::ReadBack { entry, wrote, read } => {
                write!(f, "{entry}: wrote pair {wrote}, read back {read}")
            }
            Self::NotMasked { entry } => write!(f, "{entry} does not stay masked"),
        }
    }
}

impl core::error::Error for StoreError {}

/// An entry could not be programmed: everything that went into it.
#[derive(Debug)]
pub struct ProgramFailed<T> {
    /// The entry, still masked.
    pub entry: Entry<T, Masked>,
    /// The IRTE.
    pub irte: Irte,
    /// Why.
    pub error: StoreError,
}

/// An entry could not be masked: it may still send.
#[derive(Debug)]
pub struct MaskFailed<T> {
    /// The entry.
    pub entry: Entry<T, Live>,
    /// Why.
    pub error: StoreError,
}

impl<T> fmt::Display for ProgramFailed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> fmt::Display for MaskFailed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> From<ProgramFailed<T>> for StoreError {
    /// The reason alone. Entry and IRTE are dropped: the entry is masked, the IRTE stays allocated on the host.
    fn from(failed: ProgramFailed<T>) -> Self {
        failed.error
    }
}

impl<T> From<MaskFailed<T>> for StoreError {
    /// The reason alone. The entry is dropped.
    fn from(failed: MaskFailed<T>) -> Self {
        failed.error
    }
}

impl<T: fmt::Debug> core::error::Error for ProgramFailed<T> {}
impl<T: fmt::Debug> core::error::Error for MaskFailed<T> {}

/// Sets the mask, whatever it is: a write costs less than a read. Fails if it does not stay so.
fn mask(store: &mut impl StoreEntry) -> Result<(), StoreError> {
    store.set_mask(Mask::Set);
    match store.mask() {
        Some(Mask::Clear) => Err(StoreError::NotMasked { entry: store.origin() }),
        Some(Mask::Set) | None => Ok(()),
    }
}

impl<T: StoreEntry, S> Entry<T, S> {
    /// Which entry this is.
    pub fn origin(&self) -> Origin {
        self.store.origin()
    }

    /// Whether the device has raised something that is still held, or `None` if that cannot be known.
    pub fn is_pending(&self) -> Option<bool> {
        self.store.is_pending()
    }
}

impl<T: StoreEntry> Entry<T, Masked> {
    /// Takes possession of an entry, and masks it.
    ///
    /// # Errors
    /// If it does not stay masked.
    pub fn claim(mut store: T) -> Result<Self, StoreError> {
        mask(&mut store)?;
        Ok(Self { store, state: Masked })
    }

    /// Writes the pair of `irte`, reads it back and compares.
    ///
    /// # Errors
    /// If the IRTE is another entry's, or the device does not keep what was written. Entry and IRTE come back.
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
        mask(&mut self.store)?;
        self.store.write(irte.pair);
        let read = self.store.read();
        if read == irte.pair { Ok(()) } else { Err(StoreError::ReadBack { entry, wrote: irte.pair, read }) }
    }

    /// Lets go of the entry.
    pub fn release(self) -> T {
        self.store
    }
}

impl<T: StoreEntry> Entry<T, Programmed> {
    /// Lets the device send.
    pub fn unmask(mut self) -> Entry<T, Live> {
        self.store.set_mask(Mask::Clear);
        Entry { store: self.store, state: Live { irte: self.state.irte } }
    }

    /// Gives the IRTE out, to be unmapped or to be replaced.
    pub fn retire(self) -> (Entry<T, Masked>, Irte) {
        (Entry { store: self.store, state: Masked }, self.state.irte)
    }
}

impl<T: StoreEntry> Entry<T, Live> {
    /// Stops the device from sending. When this returns, what was sent before has been pushed out by the read back.
    ///
    /// # Errors
    /// If it does not stay masked. The entry comes back.
    pub fn mask(mut self) -> Result<Entry<T, Programmed>, MaskFailed<T>> {
        match mask(&mut self.store) {
            Ok(()) => Ok(Entry { store: self.store, state: Programmed { irte: self.state.irte } }),
            Err(error) => Err(MaskFailed { entry: self, error }),
        }
    }
}

macro_rules! holds_irte {
    ($($state:ty),*) => { $(
        impl<T: StoreEntry> Entry<T, $state> {
            /// The IRTE that it was programmed with.
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
