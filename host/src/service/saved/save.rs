//! Saving: nothing is delivered any more, and what is raised meanwhile is held.

use super::state::{HeldMessage, SavedDevice, SavedSession, SavedShape, SavedState};
use crate::device::Origin;
use crate::irte::Irte;
use crate::message::Message;
use crate::service::Service;
use crate::service::vm::{Attached, Vm};
use pvir_abi::{DeviceFlags, DeviceId};
use std::io;

/// Why a service could not be saved, or could not go on afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// A device of the host: what it holds inside cannot be saved.
    #[error("device {device} ({name}) is the host's own and cannot be saved: detach it before")]
    HostDevice {
        /// The device, as the guest sees it.
        device: DeviceId,
        /// Its name on the host.
        name: String,
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

impl Service {
    /// Saves the service, for a snapshot of its VM.
    ///
    /// The VMM has stopped the vCPUs before, outside of any call, and the devices that it emulates, so that they raise
    /// nothing. It reads the local APICs *afterwards*: when this function returns, all that was raised for a vCPU is in its
    /// local APIC, and from then on nothing is delivered. The VM ends then, or goes on with
    /// [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`SaveError`]. The service then goes on as before.
    pub fn save(&self) -> Result<SavedState, SaveError> {
        let mut vm = self.lock();
        let of_host = |(_, attached): &(&DeviceId, &Attached)| {
            !attached.capabilities.flags.contains(DeviceFlags::EMULATED)
        };
        if let Some((id, attached)) = vm.devices.iter().find(of_host) {
            return Err(SaveError::HostDevice { device: *id, name: attached.device.name() });
        }
        if let Err((origin, source)) = vm.hold_back() {
            // What fails here is logged, or reported by the entry's next RETARGET.
            let _ = vm.deliver_again();
            return Err(SaveError::Detach { origin, source });
        }
        Ok(vm.saved())
    }

    /// Goes on after [`save`](Self::save): what was raised meanwhile is delivered. Nothing happens to a service that was
    /// not saved.
    ///
    /// # Errors
    /// [`SaveError::Attach`], for the first of the entries for which it failed. The others go on.
    pub fn resume(&self) -> Result<(), SaveError> {
        self.lock().deliver_again().map_err(|(origin, source)| SaveError::Attach { origin, source })
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

    fn saved(&self) -> SavedState {
        let devices = self.devices.iter().map(|(id, attached)| self.saved_device(*id, attached));
        SavedState {
            apic_ids: self.policy.apic_ids().to_vec(),
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

    fn saved_device(&self, id: DeviceId, attached: &Attached) -> SavedDevice {
        let shape = SavedShape::of(&attached.capabilities, attached.device.shape());
        let mut held: Vec<HeldMessage> = self.owed.of_device(id).collect();
        let irtes = self.irtes.iter().map(|(_, irte)| irte).filter(|irte| irte.origin.device == id);
        held.extend(irtes.flat_map(held_messages));
        if let (Some(trapped), false) = (&attached.trapped, attached.open) {
            let store = trapped.store().0;
            held.extend(trapped.held().map(|(index, message)| HeldMessage { store, index, message }));
        }
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
