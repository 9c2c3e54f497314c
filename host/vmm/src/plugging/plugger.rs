//! What the main thread does for devices that come and go.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pvir_abi::DeviceId;

use super::desk::{PlugDesk, Request, Wish};
use super::ejector::Ejector;
use super::request::{PluggedDevice, State};
use crate::device_spec::DeviceSpec;
use crate::devices::attach::DeviceMaker;
use crate::devices::host_files::HostFiles;
use crate::devices::notices::HostNotices;
use crate::pci::bus::PciBus;
use crate::pci::devfn::DevFn;
use crate::pci::hotplug::HotplugPorts;
use crate::sandbox::kinds;

/// A vCPU that is in the middle of an access holds its device for no longer than that takes.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// Makes devices and gives them back, on the main thread.
pub(crate) struct Plugger<'a> {
    maker: DeviceMaker<'a>,
    desk: Arc<PlugDesk>,
    hotplug: Arc<HotplugPorts>,
    ejector: Arc<Ejector>,
    /// Whether the machine is started again, for which every device must have a reset.
    restarts: bool,
    /// How long the guest has for letting go a device that the host wants back.
    grace: Duration,
    /// When this is over, by the serial number of the device's slot, with its place.
    wanted: BTreeMap<u64, (DevFn, Instant)>,
    /// What the host says of devices that have come, and nobody looks at yet.
    unwatched: Vec<RawFd>,
}

impl<'a> Plugger<'a> {
    pub(crate) fn new(
        maker: DeviceMaker<'a>,
        desk: Arc<PlugDesk>,
        hotplug: Arc<HotplugPorts>,
        ejector: Arc<Ejector>,
    ) -> Self {
        Self {
            maker,
            desk,
            hotplug,
            ejector,
            restarts: false,
            grace: Duration::ZERO,
            wanted: BTreeMap::new(),
            unwatched: Vec::new(),
        }
    }

    /// With devices only that can be reset, if `restarts`.
    pub(crate) fn for_restarts(self, restarts: bool) -> Self {
        Self { restarts, ..self }
    }

    /// With so much time for a guest to let go a device that the host wants back.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// What the host says of its devices.
    pub(crate) fn notices(&self) -> impl Iterator<Item = &HostNotices> {
        self.maker.notices()
    }

    /// Descriptors of which one is readable when there is something to [`serve`](Self::serve).
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> + use<> {
        [self.desk.as_raw_fd(), self.ejector.departures.as_raw_fd()].into_iter()
    }

    /// Descriptors beside those that were answered before: of devices that have come.
    pub(crate) fn take_new_descriptors(&mut self) -> Vec<RawFd> {
        std::mem::take(&mut self.unwatched)
    }

    /// Does what is wanted, and gives back what has gone. Answers when it wants to be called again, if nothing happens
    /// until then.
    pub(crate) fn serve(&mut self) -> Option<Instant> {
        self.give_back();
        for request in self.desk.take() {
            let Request { wish, reply } = request;
            let outcome = match wish {
                Wish::Plug(spec, files) => self.plug(&spec, files),
                Wish::Unplug(place) => self.unplug(place),
                Wish::ForceOut(place) => self.force_out(place),
            };
            reply.send(outcome);
        }
        let next = self.take_wanted();
        self.give_back();
        let look = self.ejector.departures.are_left().then(|| Instant::now() + NEXT_LOOK);
        look.into_iter().chain(next).min()
    }

    /// The host wants a device back, which it has at `device` and the guest at `guest`: the guest is asked for it, and it is
    /// taken when the grace period is over. The host says so again and again until it has it.
    pub(crate) fn give_up(&mut self, guest: DeviceId, device: DeviceId) {
        let slot = DevFn::of(guest).and_then(|place| self.maker.bus().slot(place));
        // One that is closing is on its way.
        let Some(slot) = slot.filter(|slot| slot.function().host_address() == Some(device)) else { return };
        let place = slot.devfn();
        if let Entry::Vacant(new) = self.wanted.entry(slot.serial()) {
            if !self.hotplug.ask_for(place, || is_there(self.maker.bus(), place, slot.serial())) {
                return;
            }
            let seconds = self.grace.as_secs_f64();
            tracing::warn!(
                "the host wants {device} back: it is being unbound from vfio-pci, or removed; the guest has {seconds} s to \
                 let {place} go"
            );
            new.insert((place, Instant::now() + self.grace));
        }
    }

    /// Takes what the host has wanted back for long enough. Answers when there is more to be taken.
    fn take_wanted(&mut self) -> Option<Instant> {
        let bus = self.maker.bus();
        self.wanted.retain(|serial, (place, _)| is_there(bus, *place, *serial));
        let now = Instant::now();
        let due: Vec<DevFn> =
            self.wanted.values().filter(|(_, moment)| *moment <= now).map(|(place, _)| *place).collect();
        for place in due {
            if let Err(error) = self.force_out(place) {
                // The guest has let it go at this moment.
                tracing::debug!("{error:#}");
            }
        }
        self.wanted.values().map(|(_, moment)| *moment).filter(|moment| *moment > now).min()
    }

    fn give_back(&mut self) {
        for slot in self.ejector.departures.unused() {
            let serial = slot.serial();
            self.maker.unmake(slot);
            self.ejector.departures.has_ended(serial);
        }
    }

    fn plug(&mut self, spec: &DeviceSpec, files: Option<HostFiles>) -> Result<PluggedDevice> {
        if let DeviceSpec::Vfio(address) = spec {
            if files.is_none() {
                bail!(
                    "vfio={address}: the VM opens no files, and none came with the request; help: `pvir plug`"
                );
            }
            self.maker.check_new(*address)?;
        }
        let slot = self.maker.make(spec, files, &kinds::DEVICE_PLUGGED)?;
        self.ejector.add(&slot);
        let (place, id, name) = (slot.devfn(), slot.serial(), slot.function().name());
        if self.restarts && !slot.function().can_reset() {
            drop(slot);
            let _ = self.ejector.take_out(place);
            bail!("the host's kernel cannot reset {name}, and this run has --on-reboot restart");
        }
        self.unwatched.extend(self.maker.notices_of(&slot).into_iter().flat_map(HostNotices::descriptors));
        self.maker.tell_isolation(&slot);
        self.hotplug.announce(place);
        Ok(PluggedDevice { device: place.id().to_string(), id, name, state: State::Present })
    }

    fn unplug(&mut self, place: DevFn) -> Result<PluggedDevice> {
        let slot = self.maker.bus().slot(place).filter(|_| place.number() != 0);
        let slot = slot
            .filter(|slot| self.hotplug.ask_for(place, || is_there(self.maker.bus(), place, slot.serial())));
        let slot = slot.with_context(|| format!("the VM has no device {}", place.id()))?;
        tracing::info!(%place, "the guest is asked to let the device go");
        let (device, name) = (place.id().to_string(), slot.function().name());
        Ok(PluggedDevice { device, id: slot.serial(), name, state: State::Leaving })
    }

    fn force_out(&mut self, place: DevFn) -> Result<PluggedDevice> {
        let taken =
            Some(place).filter(|place| place.number() != 0).and_then(|place| self.ejector.take_out(place));
        let taken = taken.with_context(|| format!("the VM has no device {}", place.id()))?;
        self.hotplug.was_taken(place);
        tracing::warn!(%place, device = %taken.name, "the device is taken from the guest");
        Ok(taken)
    }
}

/// Whether the slot with this serial number is still the one at its place.
fn is_there(bus: &PciBus, place: DevFn, serial: u64) -> bool {
    bus.slot(place).is_some_and(|slot| slot.serial() == serial)
}
