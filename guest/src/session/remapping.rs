//! The session once the host has granted direct programming.

use super::Pvir;
use crate::call::Transport;
use crate::{Conduit, Error, EventMemory, Events, HostLimits};
use core::fmt;
use core::sync::atomic::Ordering;
use pvir_abi::{Features, Operation, Version};

/// A host that remaps the interrupts of this VM: MAP, RETARGET, UNMAP and QUERY, singly or in batches.
///
/// Calls are serialised by a spin lock around the request block. Do not call from an interrupt handler that can
/// interrupt a call on the same CPU: turn interrupts off around calls, or call from threads only.
pub struct Remapping<C> {
    pub(crate) transport: Transport<C>,
    pub(super) limits: HostLimits,
    pub(super) features: Features,
    pub(super) events: Option<Events>,
}

/// DISABLE failed: the error, and the session as it was.
pub struct DisableFailed<C> {
    /// The session.
    pub remapping: Remapping<C>,
    /// Why it failed.
    pub error: Error,
}

impl<C: Conduit> Remapping<C> {
    /// Features that were taken.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// The version that both sides speak.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.transport.version
    }

    /// What the host offers.
    #[must_use]
    pub const fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// Most entries in one call: the least of what the host takes and the block holds.
    #[must_use]
    pub const fn max_entries_per_call(&self) -> usize {
        self.transport.max_records
    }

    /// The event area, if one was given.
    #[must_use]
    pub const fn events(&self) -> Option<&Events> {
        self.events.as_ref()
    }

    /// The latest epoch that this driver knows: from the event area, or from the last call.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let called = self.transport.epoch.load(Ordering::Relaxed);
        self.events.as_ref().map_or(called, Events::epoch)
    }

    /// Gives everything back: every IRTE, whoever holds it, is dead afterwards, and tables are trapped again. The
    /// event area's memory comes back too.
    ///
    /// # Errors
    /// If the host does not; then nothing has changed.
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
