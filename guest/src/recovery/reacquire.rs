//! Taking an interrupt again whose IRTE has gone, so that none is lost.

use crate::{
    BlockLock, Conduit, Entry, Error, Live, MapRequest, MaskFailed, Masked, ProgramFailed, Remapping,
    StoreEntry, Target,
};

/// An entry that is live again, and whose interrupt the kernel has still to raise once in software.
///
/// What the device sent between the event and the new pair was lost with the old one. Therefore the entry is given out
/// only by [`raise_once`](Self::raise_once). Dropped without that, the entry is masked, if it is one that masks when
/// it is dropped.
#[must_use = "an interrupt may have been lost with the old pair: raise it once in software, which gives the entry"]
#[derive(Debug)]
pub struct Reacquired<T>(Entry<T, Live>);

impl<T: StoreEntry> Reacquired<T> {
    /// The entry, after `raise` has raised its interrupt once: by calling the handler, by an IPI with its vector, or as
    /// the kernel does it. The handler finds nothing to do if nothing was lost.
    pub fn raise_once(self, raise: impl FnOnce(&Entry<T, Live>)) -> Entry<T, Live> {
        raise(&self.0);
        self.0
    }
}

/// The error of [`Remapping::reacquire`], with the entry, in the state that it has reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReacquireFailed<T> {
    /// The entry could not be masked, and is as it was.
    #[error("{0}")]
    NotMasked(MaskFailed<T>),
    /// MAP failed. The entry is masked: [`Remapping::reacquire_masked`] goes on from here.
    #[error("{error}")]
    NotMapped {
        /// The entry, masked, without an IRTE.
        entry: Entry<T, Masked>,
        /// Where its interrupt went.
        target: Target,
        /// Why MAP failed.
        error: Error,
    },
    /// The device does not take the new pair. The entry is masked, and the IRTE is to be given back.
    #[error("{0}")]
    NotProgrammed(ProgramFailed<T>),
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Takes an entry again whose IRTE has gone ([`Advice::Reacquire`](crate::Advice::Reacquire)): masks it, maps it to
    /// the same target, writes the new pair, and unmasks it. The handler is in place all the while.
    ///
    /// The old IRTE is forgotten: no UNMAP could give it back. An IRTE that is alive after all stays the entry's. If
    /// there is another event meanwhile, [`Remapping::advise`] says so of the new IRTE.
    ///
    /// # Errors
    /// [`ReacquireFailed`], with the entry.
    pub fn reacquire<T: StoreEntry>(
        &self,
        entry: Entry<T, Live>,
    ) -> Result<Reacquired<T>, ReacquireFailed<T>> {
        let (masked, old) = entry.mask().map_err(ReacquireFailed::NotMasked)?.retire();
        if let Some(ledger) = &self.ledger {
            ledger.forget(&old);
        }
        self.reacquire_masked(masked, old.target)
    }

    /// The same from an entry that is masked and holds no IRTE: after [`ReacquireFailed::NotMapped`], or of one that the
    /// kernel has masked and retired.
    ///
    /// # Errors
    /// As [`Remapping::reacquire`].
    pub fn reacquire_masked<T: StoreEntry>(
        &self,
        entry: Entry<T, Masked>,
        target: Target,
    ) -> Result<Reacquired<T>, ReacquireFailed<T>> {
        match self.map(MapRequest::new(entry.origin(), target)) {
            Ok(irte) => match entry.program(irte) {
                Ok(programmed) => Ok(Reacquired(programmed.unmask())),
                Err(failed) => Err(ReacquireFailed::NotProgrammed(failed)),
            },
            Err(error) => Err(ReacquireFailed::NotMapped { entry, target, error }),
        }
    }
}
