//! The session while pvir is enabled: MAP, RETARGET, UNMAP and QUERY are its methods, in files of their own.

use super::Pvir;
use crate::call::Transport;
use crate::ledger::Ledger;
use crate::lock::{BlockLock, SpinBlock};
use crate::{Conduit, Error, EventMemory, Events, HostLimits};
use core::fmt;
use core::sync::atomic::Ordering;
use pvir_abi::{Features, Operation, Version};

/// A session with a host that has enabled pvir for this VM: maps, moves, parks, queries and unmaps interrupts, singly
/// or in batches.
///
/// `L` is the lock around a call ([`BlockLock`]). With the default, [`SpinBlock`], do not call from an interrupt handler
/// that can interrupt a call on the same CPU.
pub struct Remapping<C, L = SpinBlock> {
    pub(crate) transport: Transport<C, L>,
    pub(super) limits: HostLimits,
    pub(super) features: Features,
    pub(super) events: Option<Events>,
    pub(crate) ledger: Option<Ledger>,
}

/// What [`Remapping::disable`] gives back.
#[non_exhaustive]
pub struct Disabled<C, L = SpinBlock> {
    /// The session, to enable again.
    pub pvir: Pvir<C, L>,
    /// The memory of the event area, if there was one. The host writes it no more.
    pub events: Option<EventMemory>,
}

/// The error of [`Remapping::disable`], with the session as it was.
#[derive(thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct DisableFailed<C, L = SpinBlock> {
    /// The session, still enabled.
    pub remapping: Remapping<C, L>,
    /// Why DISABLE failed.
    pub error: Error,
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// The features that were enabled.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// The version of the contract that both sides speak.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.transport.version
    }

    /// What the host offers to this VM.
    #[must_use]
    pub const fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// Maximum number of entries in one call: what the host takes, or what the block has room for if that is less.
    #[must_use]
    pub fn max_entries_per_call(&self) -> usize {
        self.transport.max_records()
    }

    /// The event area, if ENABLE was given one.
    #[must_use]
    pub const fn events(&self) -> Option<&Events> {
        self.events.as_ref()
    }

    /// The latest epoch that this driver knows: that in the event area, or without one that of the last call.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let called = self.transport.epoch.load(Ordering::Relaxed);
        self.events.as_ref().map_or(called, Events::epoch)
    }

    /// Ends what ENABLE began: DISABLE. Every IRTE is given back, whoever holds its token, and MSI-X tables are
    /// trapped again (statement X1). The memory of the event area comes back too.
    ///
    /// # Errors
    /// [`Error::Status`] or [`Error::ContractViolation`]. The session comes back with it.
    #[expect(clippy::result_large_err, reason = "the session is moved, once in the life of a kernel")]
    pub fn disable(self) -> Result<Disabled<C, L>, DisableFailed<C, L>> {
        match self.transport.call_bare(Operation::DISABLE) {
            Ok(()) => {
                self.transport.epoch.store(0, Ordering::Relaxed);
                let events = self.events.map(Events::into_memory);
                Ok(Disabled { pvir: Pvir::from_parts(self.transport, self.limits), events })
            }
            Err(error) => Err(DisableFailed { remapping: self, error }),
        }
    }
}

impl<C, L> fmt::Debug for Remapping<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remapping").field("features", &self.features).finish_non_exhaustive()
    }
}

impl<C, L> fmt::Debug for Disabled<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disabled").field("pvir", &self.pvir).finish_non_exhaustive()
    }
}

impl<C, L> fmt::Debug for DisableFailed<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisableFailed").field("error", &self.error).finish_non_exhaustive()
    }
}
