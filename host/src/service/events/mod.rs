//! Events: what makes handles and pairs of a running guest stale, and how the guest is told (docs/abi.md, "Epoch and
//! events").
//!
//! The order is that of the contract. The handles of the devices are stale and their IRTEs are given back first. Then
//! the event area is written (`announce`), and the vector of NOTIFY comes last. So a guest that sees the new epoch
//! never finds an old handle alive, and one that takes the vector finds the event.

mod announce;

use super::Service;
use super::counted::Counted;
use super::session::close;
use super::vm::Vm;
use crate::device::{CountPurpose, Device};
use pvir_abi::{DeviceId, EventReason, Handle};
use std::sync::MutexGuard;

/// What has happened to devices of a VM, and makes their pairs stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The pairs of one device, or of all (`None`), are stale: a reset that the guest did not ask for, or a restore. The
    /// device goes on: the guest maps its entries again.
    StalePairs(Option<DeviceId>),
    /// The device was unplugged. [`Service::remove_device`] raises it too, and gives the device back.
    DeviceGone(DeviceId),
    /// The host stops the device, for example because it raises too many interrupts. Nothing of it can be mapped, and
    /// nothing of it is sent, until [`Service::readmit`].
    DeviceCutOff(DeviceId),
}

impl Event {
    /// The event by the contract's number for its reason and by its device (`None`: every device). `None` if there is
    /// no such event: NONE, a reason of a later version, or an unplugged or cut off device that is not named.
    #[must_use]
    pub fn new(reason: EventReason, device: Option<DeviceId>) -> Option<Self> {
        match (reason, device) {
            (EventReason::STALE_PAIRS, device) => Some(Self::StalePairs(device)),
            (EventReason::DEVICE_GONE, Some(device)) => Some(Self::DeviceGone(device)),
            (EventReason::DEVICE_CUT_OFF, Some(device)) => Some(Self::DeviceCutOff(device)),
            _ => None,
        }
    }

    /// The contract's number for what has happened.
    #[must_use]
    pub fn reason(self) -> EventReason {
        match self {
            Self::StalePairs(_) => EventReason::STALE_PAIRS,
            Self::DeviceGone(_) => EventReason::DEVICE_GONE,
            Self::DeviceCutOff(_) => EventReason::DEVICE_CUT_OFF,
        }
    }

    /// The device that it is about; `None` for every device of the VM.
    #[must_use]
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::StalePairs(device) => device,
            Self::DeviceGone(device) | Self::DeviceCutOff(device) => Some(device),
        }
    }
}

/// What came of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Raised {
    /// The VM's epoch after the event; `None` if no guest has enabled pvir, so that there was nobody to be told.
    pub epoch: Option<u64>,
    /// Whether the event is a new one. A device that is cut off or gone already is not cut off or unplugged again, and
    /// the guest is not told twice.
    pub is_new: bool,
    /// Number of IRTEs that were given back, one for each message.
    pub irtes: u32,
    /// Number of entries whose interrupt could not be stopped. Nothing of them reaches a vCPU. Each later MAP or UNMAP
    /// tries again to stop them, and so does raising the event again.
    pub unstopped: usize,
}

/// Why an event was not raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaiseError {
    /// The VM does not have this device.
    #[error("the VM has no device {0}")]
    UnknownDevice(DeviceId),
    /// No guest has enabled pvir: there is neither a pair that could be stale nor a guest to be told.
    #[error("no guest has enabled pvir")]
    NotEnabled,
}

/// Events of a running VM. They may be raised from any thread, also while vCPUs call; each call of the guest sees the
/// whole of an event, or nothing of it.
impl Service {
    /// Raises an event.
    ///
    /// When this returns, the handles of the event's devices are stale, their IRTEs are given back, the epoch is one
    /// higher, the event area says why, and the vector of NOTIFY has been raised, if the guest took these. If the guest's
    /// RAM for the area has gone, or the vector cannot be raised, this is logged and the session goes on: the headers
    /// carry the epoch, and the vector is raised with the guest's next call.
    ///
    /// A device is cut off, or goes, whether or not a guest has enabled pvir: what is trapped of it is stopped as well.
    ///
    /// # Errors
    /// [`RaiseError::UnknownDevice`]; [`RaiseError::NotEnabled`] for stale pairs. Nothing has changed then.
    pub fn raise(&self, event: Event) -> Result<Raised, RaiseError> {
        let device = match event {
            Event::DeviceGone(id) => {
                let removed = self.remove_device(id).map(|(raised, _)| raised);
                return removed.or_else(|error| self.lock().raised_before_gone(id).ok_or(error));
            }
            Event::StalePairs(device) => device,
            Event::DeviceCutOff(id) => Some(id),
        };
        let counted = self.count_last_of(device);
        let mut vm = self.lock_first();
        if let Some(id) = device.filter(|id| vm.devices.get(id).is_none()) {
            return Err(RaiseError::UnknownDevice(id));
        }
        let raised = match event {
            Event::DeviceCutOff(id) => self.cut_off(&mut vm, id, counted.as_ref()),
            _ if vm.session.is_none() => return Err(RaiseError::NotEnabled),
            _ => {
                let raised = vm.release_of(device, counted.as_ref());
                self.tell(&mut vm, event, raised)
            }
        };
        self.unlock(vm);
        Ok(raised)
    }

    /// Takes a device out of the VM, and raises DEVICE_GONE if a guest has enabled pvir. Everything of the device is
    /// given back, and its table is taken from the guest. The device is the answer, to be dropped without a lock.
    ///
    /// From then on the guest's calls for this device are answered with DEVICE_GONE until it calls DISABLE, and with
    /// NO_DEVICE afterwards; until another device is [added](Self::add_device) in its place, if the guest took ATTACH.
    /// Of a device that came in this session, and is not there for its guest, no event is raised.
    ///
    /// # Errors
    /// [`RaiseError::UnknownDevice`], also for a device that has gone.
    pub fn remove_device(&self, id: DeviceId) -> Result<(Raised, Box<dyn Device>), RaiseError> {
        let counted = self.count_last_of(Some(id));
        let mut vm = self.lock_first();
        if vm.devices.get(&id).is_none() {
            return Err(RaiseError::UnknownDevice(id));
        }
        vm.owed.forget_device(id);
        let unseen = vm.is_unseen(id);
        let mut raised = vm.release_of(Some(id), counted.as_ref());
        vm.end_trapped_of(id);
        close(&mut vm, id);
        // A closed device raises nothing, and one that would not close is lost: nothing is left to be stopped.
        vm.lines.has_ended(|origin| origin.device == id);
        vm.sweep();
        raised.unstopped = 0;
        let attached = vm.devices.remove(id).ok_or(RaiseError::UnknownDevice(id))?;
        let raised = if unseen {
            // It was not there for this guest.
            Raised { epoch: vm.session.map(|_| vm.epoch), ..raised }
        } else {
            if vm.session.is_some() {
                vm.gone.insert(id);
            }
            self.tell(&mut vm, Event::DeviceGone(id), raised)
        };
        self.unlock(vm);
        Ok((raised, attached.device))
    }

    /// Lets a device go on that was cut off: the guest has reset it, or the operator says so. The guest can map its
    /// entries again, and what it has programmed into a trapped store acts again. `false` if it was not cut off.
    ///
    /// # Errors
    /// [`RaiseError::UnknownDevice`].
    pub fn readmit(&self, id: DeviceId) -> Result<bool, RaiseError> {
        let mut vm = self.lock_first();
        vm.devices.get(&id).ok_or(RaiseError::UnknownDevice(id))?;
        let was_cut_off = vm.set_cut_off(id, false);
        if was_cut_off {
            vm.hold_trapped_off(id, false);
            vm.log.info(|| format!("device {id} is let go on"));
        }
        self.unlock(vm);
        Ok(was_cut_off)
    }

    /// Whether a device is cut off; `None` if the VM does not have it.
    #[must_use]
    pub fn is_cut_off(&self, id: DeviceId) -> Option<bool> {
        self.lock().devices.get(&id).map(|attached| attached.cut_off)
    }

    /// The VM's epoch; 0 while no guest has enabled pvir.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lock().current_epoch()
    }

    fn cut_off(&self, vm: &mut Vm, id: DeviceId, counted: Option<&Counted>) -> Raised {
        let was_cut_off = vm.devices.get(&id).is_some_and(|attached| attached.cut_off);
        if was_cut_off {
            // Once more, if it failed before.
            vm.set_cut_off(id, true);
            vm.sweep();
            let unstopped = vm.lines.unstopped(|origin| origin.device == id);
            return Raised { unstopped, ..vm.raised_before() };
        }
        vm.owed.forget_device(id);
        let raised = vm.release_of(Some(id), counted);
        vm.hold_trapped_off(id, true);
        vm.set_cut_off(id, true);
        self.tell(vm, Event::DeviceCutOff(id), raised)
    }

    /// Tells the guest, if it has enabled pvir.
    fn tell(&self, vm: &mut Vm, event: Event, raised: Raised) -> Raised {
        let unseen = event.device().is_some_and(|id| vm.is_unseen(id));
        let epoch = if unseen { vm.session.map(|_| vm.epoch) } else { vm.announce(&*self.ram, event) };
        let Raised { irtes, unstopped, .. } = raised;
        let of = event.device().map_or_else(|| "every device".to_string(), |id| format!("device {id}"));
        vm.log.info(|| format!("{:?} of {of}: {irtes} IRTEs given back, epoch {epoch:?}", event.reason()));
        if unstopped > 0 {
            vm.log.warn(|| format!("{:?} of {of}: {unstopped} interrupts not stopped", event.reason()));
        }
        Raised { epoch, ..raised }
    }

    /// Reads the host's counts of the entries that an event is about to stop, if a history of them is kept.
    fn count_last_of(&self, device: Option<DeviceId>) -> Option<Counted> {
        let meant = |id| device.is_none_or(|device| device == id);
        self.keeps_history.then(|| self.count(CountPurpose::BeforeStop, |id, at| meant(id) && at.held > 0))
    }

    fn unlock(&self, vm: MutexGuard<'_, Vm>) {
        let (wants_prearm, has_started) = (vm.wants_prearm(), vm.lines.has_started());
        drop(vm);
        if wants_prearm {
            self.bell.ring();
        }
        if has_started {
            self.storm_bell.ring();
        }
    }
}

impl Vm {
    /// Cuts a device off or lets it go on, and has it held off meanwhile: without an IRTE its messages reach nobody, and
    /// yet each of them is a fault that the host's remapping unit reports. Answers whether it was cut off.
    pub(super) fn set_cut_off(&mut self, id: DeviceId, cut_off: bool) -> bool {
        let Self { devices, log, .. } = self;
        let Some(attached) = devices.get_mut(&id) else { return false };
        let was_cut_off = std::mem::replace(&mut attached.cut_off, cut_off);
        if !cut_off {
            attached.storm = None;
        }
        if cut_off || was_cut_off {
            if let Err(error) = attached.device.hold_off(cut_off) {
                log.warn(|| format!("device {id}: Bus Master Enable cannot be written: {error}"));
            }
        }
        was_cut_off
    }

    /// An event that was raised before: nothing is new.
    fn raised_before(&self) -> Raised {
        let epoch = self.session.map(|_| self.epoch);
        Raised { epoch, is_new: false, irtes: 0, unstopped: 0 }
    }

    /// A device that has gone before does not go again.
    fn raised_before_gone(&self, id: DeviceId) -> Option<Raised> {
        self.gone.contains(&id).then(|| self.raised_before())
    }

    /// Gives back every IRTE of a device, or of all, latest first.
    pub(super) fn release_of(&mut self, device: Option<DeviceId>, counted: Option<&Counted>) -> Raised {
        let meant = |id| device.is_none_or(|device| device == id);
        let held = self.irtes.iter().filter(|(_, irte)| meant(irte.origin.device));
        let (handles, counts): (Vec<Handle>, Vec<u32>) =
            held.map(|(handle, irte)| (handle, irte.count())).unzip();
        self.remember(&handles, counted);
        self.release(&handles);
        self.sweep();
        let unstopped = self.lines.unstopped(|origin| meant(origin.device));
        Raised { epoch: None, is_new: true, irtes: counts.iter().sum(), unstopped }
    }
}
