//! The session: what the host offers, and asking it to let the VM program its devices.

use super::enable::check_record;
use super::{EnableOptions, Remapping};
use crate::block::BlockMemory;
use crate::call::{BatchMode, Transport};
use crate::check::{self, Verdict};
use crate::events::Events;
use crate::features::{AskFeatures, HostLimits};
use crate::{Conduit, ContractViolation, Discovered, EntryError, Error};
use core::fmt;
use core::sync::atomic::Ordering;
use pvir_abi::{Operation, Status, Version};

/// A host with which a version was agreed, and that has not been asked to let the VM program its devices.
pub struct Pvir<C> {
    pub(crate) transport: Transport<C>,
    limits: HostLimits,
}

/// ENABLE failed: the error, and everything that went into it.
pub struct EnableFailed<C> {
    /// The session, to ask again for less.
    pub pvir: Pvir<C>,
    /// What was asked.
    pub options: EnableOptions,
    /// Why it failed.
    pub error: Error,
}

impl<C: Conduit> Pvir<C> {
    /// Asks FEATURES with the agreed version and compares the answer with what CPUID said.
    ///
    /// # Errors
    /// If the host does not answer, or not as the contract says.
    pub fn negotiate(discovered: &Discovered, conduit: C, block: BlockMemory) -> Result<Self, Error> {
        let transport = Transport::new(conduit, block, discovered.version, discovered.host.max_records)?;
        let mut asked = AskFeatures::new(discovered);
        transport.run(&mut asked, BatchMode::Partial)?;
        let operation = Operation::FEATURES;
        let [limits] = asked.results;
        match limits {
            Ok(limits) => Ok(Self { transport, limits }),
            Err(EntryError::Status(status)) => Err(Error::Status { operation, status }),
            Err(_) => {
                Err(Error::ContractViolation { operation, violation: ContractViolation::NothingFailed })
            }
        }
    }

    /// What the host offers.
    #[must_use]
    pub const fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// The agreed version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.transport.version
    }

    /// Most entries in one call: the least of what the host takes and the block holds.
    #[must_use]
    pub const fn max_entries_per_call(&self) -> usize {
        self.transport.max_records
    }

    /// Asks for the whole VM to program its devices itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with the host's reason, or why it could not be asked. The session comes back with it.
    #[expect(clippy::result_large_err, reason = "the session is moved, once in the life of a kernel")]
    pub fn enable(self, options: EnableOptions) -> Result<Remapping<C>, EnableFailed<C>> {
        match self.ask_enable(&options) {
            Ok(()) => {
                let epoch = self.transport.epoch.load(Ordering::Relaxed);
                let events = options.events.map(|memory| Events::new(memory, epoch));
                Ok(Remapping {
                    transport: self.transport,
                    limits: self.limits,
                    features: options.features,
                    events,
                })
            }
            Err(error) => Err(EnableFailed { pvir: self, options, error }),
        }
    }

    pub(super) fn from_parts(transport: Transport<C>, limits: HostLimits) -> Self {
        Self { transport, limits }
    }

    fn ask_enable(&self, options: &EnableOptions) -> Result<(), Error> {
        let operation = Operation::ENABLE;
        let missing = options.features.difference(self.limits.features);
        if !missing.is_empty() {
            return Err(Error::FeaturesNotOffered(missing));
        }
        let request = options.record()?;
        let raw = self.transport.call_enable(request);
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
            Verdict::Partial | Verdict::Aborted => {
                Err(violated(ContractViolation::CallStatus(raw.got.status)))
            }
        }
    }
}

impl<C> fmt::Debug for Pvir<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pvir").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for EnableFailed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnableFailed").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<C> fmt::Display for EnableFailed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<C> core::error::Error for EnableFailed<C> {}
