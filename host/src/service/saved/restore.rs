//! Restoring: everything is validated first, then made, and undone where a device refuses.

use super::owed::Owed;
use super::state::{HeldMessage, SavedDevice, SavedSession, SavedShape, SavedState};
use crate::device::{NotIsolated, Origin};
use crate::irte::IrteTable;
use crate::kvm::MAX_GSI;
use crate::memory::GuestRam;
use crate::service::session;
use crate::service::trapped::Trapped;
use crate::service::vm::{Attached, Session, Vm};
use crate::service::{Event, RaiseError, Service};
use pvir_abi::{Bdf, DeviceId, EnableRecord, Features, GuestPhysAddr, Status, Store};
use std::io;
use std::sync::atomic::Ordering;

/// Why a state was not restored. The service is then as new.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The service has been used: a guest has enabled pvir or programmed a device, or a state was restored.
    #[error("the VM has run already")]
    InUse,
    /// The VM has other vCPUs.
    #[error("the saved VM has vCPUs with the APIC ids {saved:?}, and this one has {here:?}")]
    Vcpus {
        /// APIC ids of the saved VM, ascending.
        saved: Vec<u32>,
        /// APIC ids of this VM, ascending.
        here: Vec<u32>,
    },
    /// The saved VM has a device that this one lacks.
    #[error("the saved VM has a device {0}, and this one has none there")]
    MissingDevice(DeviceId),
    /// The VM has a device that the saved one lacks.
    #[error("device {0} is not in the saved VM")]
    NewDevice(DeviceId),
    /// A device is not what it was.
    #[error("device {device} is another one: saved with {saved}; here with {here}")]
    OtherDevice {
        /// The device.
        device: DeviceId,
        /// What the saved one has.
        saved: String,
        /// What the one of this VM has.
        here: String,
    },
    /// The guest has taken features that this host does not offer.
    #[error("the guest has taken features that this host does not offer: {0:?}")]
    Features(Features),
    /// The event area does not lie in the RAM of this VM.
    #[error("the event area at {0:?} does not lie in guest RAM")]
    EventArea(GuestPhysAddr),
    /// A device that the guest programs is not isolated here.
    #[error("device {device} is not isolated: {reason}")]
    NotIsolated {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: NotIsolated,
    },
    /// The state contradicts itself: it was put together by somebody else.
    #[error("the state contradicts itself: {0}")]
    Contradiction(String),
    /// The guest could not be given a device.
    #[error("opening device {device} failed")]
    Open {
        /// The device.
        device: DeviceId,
        /// The device's error.
        #[source]
        source: io::Error,
    },
}

fn contradiction(what: impl Into<String>) -> RestoreError {
    RestoreError::Contradiction(what.into())
}

impl Service {
    /// Restores what [`save`](Self::save) has saved into a new service that has the same vCPUs and devices.
    ///
    /// It is the last step of a restore. RAM, the local APICs, the functions' configuration space and what the devices hold
    /// inside are restored before; no vCPU runs yet. The guest then finds a higher epoch in its event area (S1).
    ///
    /// # Errors
    /// [`RestoreError`]. The service is then as it was; the VM should be given up, since its guest waits for what it had.
    pub fn restore(&self, state: &SavedState) -> Result<(), RestoreError> {
        let mut vm = self.lock_first();
        let offered = self.discovery.features;
        let validated = validate(&vm, &*self.ram, offered, state)?;
        vm.take_over(state, validated)?;
        self.last.iter().zip(&state.statuses).for_each(|(last, saved)| last.store(*saved, Ordering::Relaxed));
        drop(vm);
        match self.raise(Event::StalePairs(None)) {
            // A guest that has not enabled pvir has no pairs.
            Ok(_) | Err(RaiseError::NotEnabled | RaiseError::UnknownDevice(_)) => Ok(()),
        }
    }
}

/// What of a state has a type of its own.
struct Validated {
    session: Option<Session>,
    /// The messages of each device for which an interrupt is held.
    held: Vec<Vec<(Origin, u8)>>,
}

fn validate(
    vm: &Vm,
    ram: &dyn GuestRam,
    offered: Features,
    state: &SavedState,
) -> Result<Validated, RestoreError> {
    if !vm.is_new() {
        return Err(RestoreError::InUse);
    }
    let here = vm.policy.apic_ids();
    if here != state.apic_ids {
        return Err(RestoreError::Vcpus { saved: state.apic_ids.clone(), here: here.to_vec() });
    }
    if state.statuses.len() != here.len() {
        return Err(contradiction("each vCPU has the status of a last call"));
    }
    let slots = u32::try_from(state.generations.len()).unwrap_or(u32::MAX);
    if slots > MAX_GSI || state.generations.contains(&0) {
        return Err(contradiction("no handles are numbered like that"));
    }
    if state.epoch == u64::MAX || (state.epoch == 0 && (state.session.is_some() || slots != 0)) {
        return Err(contradiction(format!("epoch {} is none that it can have", state.epoch)));
    }
    let session = state.session.map(|saved| validate_session(vm, ram, offered, saved)).transpose()?;
    if session.is_some_and(|session| !(1..=state.epoch).contains(&session.first_epoch)) {
        return Err(contradiction("the session is younger than its epoch"));
    }
    if !state.gone.is_empty() && session.is_none() {
        return Err(contradiction("devices went in a session that there is not"));
    }
    let mut held = Vec::with_capacity(state.devices.len());
    let mut here = vm.devices.iter();
    for saved in &state.devices {
        let id = saved.id();
        let attached = match here.next() {
            Some((other, attached)) if *other == id => attached,
            Some((other, _)) if *other < id => return Err(RestoreError::NewDevice(*other)),
            _ => return Err(RestoreError::MissingDevice(id)),
        };
        held.push(validate_device(attached, saved, session.as_ref())?);
    }
    match here.next() {
        Some((id, _)) => Err(RestoreError::NewDevice(*id)),
        None => Ok(Validated { session, held }),
    }
}

/// What ENABLE has granted is validated as ENABLE would validate it now.
fn validate_session(
    vm: &Vm,
    ram: &dyn GuestRam,
    offered: Features,
    saved: SavedSession,
) -> Result<Session, RestoreError> {
    let SavedSession { features, first_epoch, event_area, notify_apic_id, notify_vector } = saved;
    let record = EnableRecord {
        features,
        event_area: GuestPhysAddr(event_area),
        notify_apic_id,
        notify_vector: notify_vector.into(),
        ..EnableRecord::request(Features::empty(), None)
    };
    let session = session::validate(vm, ram, offered, &record).map_err(|status| match status {
        Status::UNSUPPORTED_FEATURE => {
            RestoreError::Features(Features::from_bits_retain(features).difference(offered))
        }
        Status::BAD_ADDRESS => RestoreError::EventArea(GuestPhysAddr(event_area)),
        other => contradiction(format!("no ENABLE grants what the session has: {other:?}")),
    })?;
    Ok(Session { first_epoch, ..session })
}

/// Answers with the messages of the device for which an interrupt is held.
fn validate_device(
    attached: &Attached,
    saved: &SavedDevice,
    session: Option<&Session>,
) -> Result<Vec<(Origin, u8)>, RestoreError> {
    let device = saved.id();
    let has_session = session.is_some();
    let features = session.map_or(Features::empty(), |session| session.features);
    let shape = SavedShape::of(&attached.capabilities, attached.device.shape());
    if shape != saved.shape {
        let (saved, here) = (saved.shape.to_string(), shape.to_string());
        return Err(RestoreError::OtherDevice { device, saved, here });
    }
    let served = attached.is_served(features);
    let by_device = features.contains(Features::ATTACH);
    if saved.unseen && (by_device || !has_session) {
        return Err(contradiction(format!("{device} is there for every guest of this session")));
    }
    let is_right = match by_device {
        true => served || !saved.open,
        false => saved.open == (served && !saved.unseen),
    };
    if !is_right {
        return Err(contradiction(format!("who programs {device} is not what the guest asked for")));
    }
    let fits = match (&attached.trapped, &saved.registers) {
        (Some(trapped), Some(registers)) => trapped.registers().takes(registers),
        (here, registers) => here.is_none() && registers.is_none(),
    };
    if !fits {
        return Err(contradiction(format!("{device} has no such registers")));
    }
    if let (true, Err(reason)) = (saved.open, attached.device.isolated()) {
        return Err(RestoreError::NotIsolated { device, reason });
    }
    let held = saved.held.iter().map(|held| validate_held(attached, saved, *held));
    held.collect::<Option<_>>()
        .ok_or_else(|| contradiction(format!("interrupts are held for messages that {device} does not have")))
}

fn validate_held(attached: &Attached, saved: &SavedDevice, held: HeldMessage) -> Option<(Origin, u8)> {
    let HeldMessage { store, index, message } = held;
    let store = Store(store);
    let messages = if store == Store::MSI { attached.capabilities.msi_messages.min(32) } else { 1 };
    let exists = attached.capabilities.entries(store).is_some_and(|entries| index < entries);
    let of_trapped = || attached.trapped.as_ref().is_some_and(|trapped| trapped.store() == store);
    let fits = exists && u32::from(message) < messages && (saved.open || of_trapped());
    fits.then_some((Origin { device: saved.id(), store, index }, message))
}

impl Vm {
    /// Whether no guest has used it.
    fn is_new(&self) -> bool {
        let untouched = |attached: &Attached| attached.trapped.as_ref().is_none_or(Trapped::is_new);
        self.session.is_none()
            && self.epoch == 0
            && self.gone.is_empty()
            && self.irtes.generations().is_empty()
            && self.devices.iter().all(|(_, attached)| !attached.open && untouched(attached))
    }

    /// Makes what was validated: devices that are the guest's are given to it, the stores of the others are emulated as
    /// before.
    fn take_over(&mut self, state: &SavedState, validated: Validated) -> Result<(), RestoreError> {
        for saved in state.devices.iter().filter(|saved| saved.open) {
            let device = saved.id();
            let Some(attached) = self.devices.get_mut(&device) else { continue };
            if let Err(source) = attached.device.open() {
                self.close_opened();
                return Err(RestoreError::Open { device, source });
            }
            attached.open = true;
        }
        self.epoch = state.epoch;
        self.irtes = IrteTable::with_generations(&state.generations);
        self.owed = Owed::default();
        for (saved, held) in state.devices.iter().zip(validated.held) {
            if let Some(registers) = &saved.registers {
                self.restore_trapped(
                    saved.id(),
                    registers,
                    saved.cut_off,
                    if saved.open { &[] } else { &held },
                );
            }
            if saved.open {
                held.into_iter().for_each(|(origin, message)| self.owed.add(origin, message));
            }
        }
        for saved in &state.devices {
            self.set_cut_off(saved.id(), saved.cut_off);
            if let Some(attached) = self.devices.get_mut(&saved.id()) {
                attached.unseen = saved.unseen;
            }
        }
        self.gone = state.gone.iter().map(|(segment, bdf)| DeviceId::new(*segment, Bdf(*bdf))).collect();
        self.session = validated.session;
        Ok(())
    }
}
