//! The session while pvir is not enabled: what the host offers, and ENABLE.

use super::enable::check_record;
use super::{EnableOptions, Remapping};
use crate::block::BlockMemory;
use crate::call::Transport;
use crate::check::{self, Verdict};
use crate::events::Events;
use crate::features::{self, HostLimits};
use crate::lock::{BlockLock, SpinBlock};
use crate::{Conduit, ContractViolation, Discovered, Error};
use core::fmt;
use core::sync::atomic::Ordering;
use pvir_abi::{FeaturesRecord, Operation, Status, Version};

/// A session with a host that has not enabled pvir for this VM: before ENABLE, and after DISABLE.
///
/// `L` is the lock around a call, as for [`Remapping`].
pub struct Pvir<C, L = SpinBlock> {
    pub(crate) transport: Transport<C, L>,
    limits: HostLimits,
}

/// The error of [`Pvir::enable`], with everything that went into it.
#[derive(thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct EnableFailed<C, L = SpinBlock> {
    /// The session, for instance to ask for less.
    pub pvir: Pvir<C, L>,
    /// What was asked for.
    pub options: EnableOptions,
    /// Why ENABLE failed.
    pub error: Error,
}

impl<C: Conduit> Pvir<C> {
    /// Begins a session: calls the host for the first time, with FEATURES, and compares the answer with CPUID.
    ///
    /// `conduit` leads to the host that was `discovered`. `block` is the memory of every call of the session, under a
    /// spin lock: a kernel that calls from interrupt handlers takes [`Pvir::negotiate_with`].
    ///
    /// # Errors
    /// [`Error::BlockOutOfReach`], [`Error::Status`] with the status of the host, or [`Error::ContractViolation`].
    pub fn negotiate(discovered: &Discovered, conduit: C, block: BlockMemory) -> Result<Self, Error> {
        Self::negotiate_with(discovered, conduit, SpinBlock::new(block))
    }
}

impl<C: Conduit, L: BlockLock> Pvir<C, L> {
    /// Begins a session whose calls get their block from `lock`, a lock of the kernel's own.
    ///
    /// # Errors
    /// As for [`Pvir::negotiate`].
    pub fn negotiate_with(discovered: &Discovered, conduit: C, lock: L) -> Result<Self, Error> {
        let (operation, host) = (Operation::FEATURES, &discovered.host);
        let transport = Transport::new(conduit, lock, discovered.version, host.max_records);
        let request = FeaturesRecord::request();
        let answer = transport.ask(operation, &request, |at, answer| features::limits(host, at, answer))?;
        let limits = answer.map_err(|status| Error::Status { operation, status })?;
        Ok(Self { transport, limits })
    }

    /// What the host offers to this VM.
    #[must_use]
    pub const fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// The version of the contract that both sides speak.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.transport.version
    }

    /// Maximum number of entries in one call: what the host takes, or what the block has room for if that is less.
    #[must_use]
    pub fn max_entries_per_call(&self) -> usize {
        self.transport.max_records()
    }

    /// Asks the host to let the VM program its devices directly: ENABLE, for all devices of the VM at once.
    ///
    /// When this returns, the MSI-X table of every device with DIRECT is mapped into the guest, and every entry of it
    /// is masked (statement E4).
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason of the host; [`Error::FeaturesNotOffered`], [`Error::InconsistentOptions`],
    /// [`Error::Status`], [`Error::ContractViolation`]. Session and options come back with it. ALREADY_ENABLED says
    /// that another kernel has left the VM enabled, see [`EnableOptions::taking_over`].
    #[expect(clippy::result_large_err, reason = "the session is moved, once in the life of a kernel")]
    pub fn enable(self, options: EnableOptions) -> Result<Remapping<C, L>, EnableFailed<C, L>> {
        match self.enable_or_take_over(&options) {
            Ok(()) => {
                let epoch = self.transport.epoch.load(Ordering::Relaxed);
                let events = options.events.map(|memory| Events::new(memory, epoch));
                if let Some(ledger) = &options.ledger {
                    ledger.begin(epoch);
                }
                Ok(Remapping {
                    transport: self.transport,
                    limits: self.limits,
                    features: options.features,
                    events,
                    ledger: options.ledger,
                })
            }
            Err(error) => Err(EnableFailed { pvir: self, options, error }),
        }
    }

    pub(super) fn from_parts(transport: Transport<C, L>, limits: HostLimits) -> Self {
        Self { transport, limits }
    }

    fn enable_or_take_over(&self, options: &EnableOptions) -> Result<(), Error> {
        let left_behind = |error: &Error| matches!(error, Error::Status { status, .. } if status.status() == Status::ALREADY_ENABLED);
        match self.ask_enable(options) {
            Err(error) if options.takes_over && left_behind(&error) => {
                self.transport.call_bare(Operation::DISABLE)?;
                self.ask_enable(options)
            }
            asked => asked,
        }
    }

    fn ask_enable(&self, options: &EnableOptions) -> Result<(), Error> {
        let operation = Operation::ENABLE;
        let missing = options.features.difference(self.limits.features);
        if !missing.is_empty() {
            return Err(Error::FeaturesNotOffered(missing));
        }
        let request = options.record()?;
        let raw = self.transport.call_enable(request)?;
        let violated = |violation| Error::ContractViolation { operation, violation };
        let verdict = check::header(&raw.sent, &raw.got, raw.conduit, 0).map_err(violated)?;
        match verdict {
            Verdict::Carried => {
                check_record(&request, &raw.record, Status::OK).map_err(violated)?;
                check::totals(&raw.got, 1, false, verdict).map_err(violated)?;
                if raw.got.epoch == 0 {
                    return Err(violated(ContractViolation::Epoch { before: 0, said: 0 }));
                }
                if options.events.as_ref().is_some_and(|area| !area.is_written(raw.got.epoch)) {
                    return Err(violated(ContractViolation::EventArea));
                }
                self.transport.epoch.store(raw.got.epoch, Ordering::Relaxed);
                Ok(())
            }
            Verdict::Failed(status) if status.status() == Status::REFUSED => {
                check_record(&request, &raw.record, Status::REFUSED).map_err(violated)?;
                Err(Error::Refused { reason: raw.record.refusal, device: raw.record.device })
            }
            Verdict::Failed(status) => Err(Error::Status { operation, status }),
            // One record with the status of the call cannot fail in part.
            Verdict::Partial | Verdict::Aborted(_) => {
                Err(violated(ContractViolation::CallStatus(raw.got.status)))
            }
        }
    }
}

impl<C, L> fmt::Debug for Pvir<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pvir").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<C, L> fmt::Debug for EnableFailed<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnableFailed").field("error", &self.error).finish_non_exhaustive()
    }
}
