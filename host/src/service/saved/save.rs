//! Saving: nothing is delivered any more, and what is raised meanwhile is held.

use super::state::{HeldMessage, SavedDevice, SavedSession, SavedShape, SavedState};
use super::suspend::Pending;
use crate::device::Origin;
use crate::irte::Irte;
use crate::message::Message;
use crate::service::Service;
use crate::service::vm::{Attached, Vm};
use pvir_abi::{DeviceId, Store};
use std::io;
use std::sync::atomic::Ordering;

/// Why a service could not be saved, or could not go on afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// What a device of the host holds inside cannot be saved, and the guest is not told that it will find the device
    /// reset: it has not enabled pvir with EPOCH, or does not have this device.
    #[error(
        "what device {device} ({name}) holds inside cannot be saved, and its guest cannot be told that it will be found \
         reset: it does not program the device by pvir, or took no events (EPOCH)"
    )]
    Untold {
        /// The device, as the guest sees it.
        device: DeviceId,
        /// Its name on the host.
        name: String,
    },
    /// A device of the host could not be stopped. Everything goes on as before.
    #[error("stopping device {device} ({name}) failed")]
    Suspend {
        /// The device, as the guest sees it.
        device: DeviceId,
        /// Its name on the host.
        name: String,
        /// The device's error.
        #[source]
        source: io::Error,
    },
    /// A device of the host could not be let go on after a save.
    #[error("letting device {device} ({name}) go on failed")]
    Wake {
        /// The device, as the guest sees it.
        device: DeviceId,
        /// Its name on the host.
        name: String,
        /// The device's error.
        #[source]
        source: io::Error,
    },
    /// An irqfd could not be detached. Everything goes on as before.
    #[error("holding back the interrupts of {origin} failed")]
    Detach {
        /// The entry.
        origin: Origin,
        /// The errno of `KVM_IRQFD`.
        #[source]
        source: io::Error,
    },
    /// An irqfd could not be attached again after a save. What is raised is held until the entry is moved.
    #[error("delivering the interrupts of {origin} again failed")]
    Attach {
        /// The entry.
        origin: Origin,
        /// The errno of `KVM_IRQFD`.
        #[source]
        source: io::Error,
    },
}

/// How a service is saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    pub(super) resets_untold: bool,
}

impl SaveOptions {
    /// Saves it also where a guest will find a device reset and is not told: the guest has to notice it by itself, or its
    /// administrator has to.
    #[must_use]
    pub fn with_untold_resets(self) -> Self {
        Self { resets_untold: true, ..self }
    }
}

impl Service {
    /// Saves the service, for a snapshot of its VM.
    ///
    /// The VMM has stopped the vCPUs before, outside of any call, and the devices that it emulates, so that they raise
    /// nothing. It reads the local APICs *afterwards*: when this function returns, all that was raised for a vCPU is in its
    /// local APIC, and from then on nothing is delivered. The VM ends then, or goes on with
    /// [`resume`](Self::resume).
    ///
    /// Devices of the host are stopped here: they send nothing more, and reach no memory. One of which the inside cannot
    /// be saved is found reset by the guest that goes on, and what it held for its MSI-X entries is saved as held by the
    /// host. The guest has to be told, by an event that it takes ([`SaveError::Untold`]).
    ///
    /// # Errors
    /// [`SaveError`]. The service then goes on as before.
    pub fn save(&self) -> Result<SavedState, SaveError> {
        self.save_with(SaveOptions::default())
    }

    /// The same, as `options` say.
    ///
    /// # Errors
    /// As for [`save`](Self::save).
    pub fn save_with(&self, options: SaveOptions) -> Result<SavedState, SaveError> {
        let mut vm = self.lock();
        vm.check_told(options)?;
        let pending = vm.suspend_devices()?;
        if let Err((origin, source)) = vm.hold_back() {
            // What fails here is logged, or reported by the entry's next RETARGET.
            let _ = vm.deliver_again();
            let _ = vm.wake_devices();
            return Err(SaveError::Detach { origin, source });
        }
        let statuses = self.last.iter().map(|last| last.load(Ordering::Relaxed)).collect();
        Ok(SavedState { statuses, ..vm.saved(&pending) })
    }

    /// Whether [`save_with`](Self::save_with) would be refused at once. A VMM asks before it stops anything.
    ///
    /// # Errors
    /// [`SaveError::Untold`].
    pub fn check_save(&self, options: SaveOptions) -> Result<(), SaveError> {
        self.lock().check_told(options)
    }

    /// Goes on after [`save`](Self::save): what was raised meanwhile is delivered. Nothing happens to a service that was
    /// not saved.
    ///
    /// # Errors
    /// [`SaveError::Attach`], for the first of the entries for which it failed, or [`SaveError::Wake`]. The others go on.
    pub fn resume(&self) -> Result<(), SaveError> {
        let mut vm = self.lock();
        let delivered = vm.deliver_again();
        let woken = vm.wake_devices();
        delivered.map_err(|(origin, source)| SaveError::Attach { origin, source }).and(woken)
    }
}

impl Vm {
    /// Detaches every irqfd of an entry. KVM has then injected what the eventfds had counted, and they count on.
    fn hold_back(&mut self) -> Result<(), (Origin, io::Error)> {
        for irte in self.irtes.iter_mut() {
            self.lines.detach_all(&mut irte.lines).map_err(|error| (irte.origin, error))?;
        }
        self.hold_trapped_back()
    }

    fn deliver_again(&mut self) -> Result<(), (Origin, io::Error)> {
        let mut outcome = Ok(());
        for irte in self.irtes.iter_mut().filter(|irte| irte.target.is_some()) {
            let attached = self.lines.attach_all(&mut irte.lines).map_err(|error| (irte.origin, error));
            outcome = outcome.and(attached);
        }
        self.resume_all_trapped();
        outcome
    }

    fn saved(&self, pending: &Pending) -> SavedState {
        let saved = |(id, attached): (&DeviceId, &Attached)| {
            let pending = pending.get(id).map_or(&[][..], Vec::as_slice);
            self.saved_device(*id, attached, pending)
        };
        let devices = self.devices.iter().map(saved);
        SavedState {
            apic_ids: self.policy.apic_ids().to_vec(),
            statuses: Vec::new(),
            epoch: self.epoch,
            session: self.session.as_ref().map(|session| SavedSession {
                features: session.features.bits(),
                first_epoch: session.first_epoch,
                event_area: session.event_area.map_or(0, |area| area.0),
                notify_apic_id: session.notify.map_or(0, Message::destination),
                notify_vector: session.notify.map_or(0, Message::vector),
            }),
            generations: self.irtes.generations(),
            devices: devices.collect(),
            gone: self.gone.iter().map(|id| (id.segment, id.bdf.0)).collect(),
        }
    }

    fn saved_device(&self, id: DeviceId, attached: &Attached, pending: &[u32]) -> SavedDevice {
        let shape = SavedShape::of(&attached.capabilities, attached.device.shape());
        let mut held: Vec<HeldMessage> = self.owed.of_device(id).collect();
        let irtes = self.irtes.iter().map(|(_, irte)| irte).filter(|irte| irte.origin.device == id);
        held.extend(irtes.flat_map(held_messages));
        if let (Some(trapped), false) = (&attached.trapped, attached.open) {
            let store = trapped.store().0;
            held.extend(trapped.held().map(|(index, message)| HeldMessage { store, index, message }));
        }
        let (store, message) = (Store::MSIX.0, 0);
        held.extend(pending.iter().map(|index| HeldMessage { store, index: *index, message }));
        held.sort_unstable();
        held.dedup();
        let registers = attached.trapped.as_ref().map(|trapped| trapped.registers().save());
        SavedDevice {
            open: attached.open,
            cut_off: attached.cut_off,
            unseen: attached.unseen,
            registers,
            held,
            ..SavedDevice::new(id, shape)
        }
    }
}

/// The messages of an IRTE whose eventfds have counted something.
fn held_messages(irte: &Irte) -> impl Iterator<Item = HeldMessage> {
    let (store, index) = (irte.origin.store.0, irte.origin.index);
    let held = (0_u8..).zip(irte.lines.iter()).filter(|(_, line)| line.holds_interrupt());
    held.map(move |(message, _)| HeldMessage { store, index, message })
}
