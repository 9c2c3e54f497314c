//! The session while pvir is enabled: MAP, RETARGET, UNMAP and QUERY are its methods, in files of their own.

use super::Pvir;
use crate::call::Transport;
use crate::{Conduit, Error, EventMemory, Events, HostLimits};
use core::fmt;
use core::sync::atomic::Ordering;
use pvir_abi::{Features, Operation, Version};

/// A session with a host that has enabled pvir for this VM: maps, moves, parks, queries and unmaps interrupts, singly
/// or in batches.
///
/// Calls are serialised by a spin lock around the request block. Do not call from an interrupt handler that can
/// interrupt a call on the same CPU: turn interrupts off around calls, or call from threads only.
pub struct Remapping<C> {
    pub(crate) transport: Transport<C>,
    pub(super) limits: HostLimits,
    pub(super) features: Features,
    pub(super) events: Option<Events>,
}

/// The error of [`Remapping::disable`], with the session as it was.
pub struct DisableFailed<C> {
    /// The session, still enabled.
    pub remapping: Remapping<C>,
    /// Why DISABLE failed.
    pub error: Error,
}

impl<C: Conduit> Remapping<C> {
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
    pub const fn max_entries_per_call(&self) -> usize {
        self.transport.max_records
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
    pub fn disable(self) -> Result<(Pvir<C>, Option<EventMemory>), DisableFailed<C>> {
        match self.transport.call_bare(Operation::DISABLE) {
            Ok(()) => {
                self.transport.epoch.store(0, Ordering::Relaxed);
                let memory = self.events.map(Events::into_memory);
                Ok((Pvir::from_parts(self.transport, self.limits), memory))
            }
            Err(error) => Err(DisableFailed { remapping: self, error }),
        }
    }
}

impl<C> fmt::Debug for Remapping<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remapping").field("features", &self.features).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for DisableFailed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisableFailed").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<C> fmt::Display for DisableFailed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<C> core::error::Error for DisableFailed<C> {}
