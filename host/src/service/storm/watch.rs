//! One look at all devices of a VM, and what comes of it.

use super::meter::{Storm, StormMeter};
use crate::device::{HostCounts, KernelTotals};
use crate::service::Service;
use crate::service::events::Event;
use crate::service::trapped::Trapped;
use crate::service::vm::{Attached, Vm};
use pvir_abi::DeviceId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Looks for storms of a service's devices. There is one such watch of a service at most.
pub struct StormWatch {
    service: Arc<Service>,
    watched: Watched,
}

/// What is known of a service's devices from earlier looks.
pub(in crate::service) struct Watched {
    meter: StormMeter,
    kernel: KernelTotals,
    /// Devices whose storms cannot be found, which was logged.
    uncounted: BTreeSet<DeviceId>,
}

/// What a look has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Looked {
    /// The devices that were cut off.
    pub storms: Vec<Storm>,
    /// Whether there is an interrupt that could come, so that there will be something to be seen in the next look.
    pub in_use: bool,
}

/// A device that is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CutOffDevice {
    /// The device.
    pub device: DeviceId,
    /// Why, if it was for its interrupts; otherwise somebody has raised the event by hand, or the VM was
    /// restored with the device cut off.
    pub storm: Option<Storm>,
}

impl StormWatch {
    /// The longest time from one look to the next with which a storm ends within 100 ms of its beginning.
    pub const PERIOD: Duration = Duration::from_millis(25);

    /// A watch that has not looked yet. The limit is that of the service's [`Config`](crate::service::Config).
    #[must_use]
    pub fn new(service: Arc<Service>) -> Self {
        let watched = Watched::new(&service);
        Self { service, watched }
    }

    /// Looks at all devices, and cuts off those that raise too many interrupts. `now` is the time since some moment,
    /// always the same one.
    ///
    /// The counts are read without the VM's lock, and the guest notices nothing of a look that finds no storm. A device
    /// that could not be stopped is tried again as long as it storms.
    pub fn look(&mut self, now: Duration) -> Looked {
        self.watched.look(&self.service, now)
    }
}

impl Watched {
    pub(in crate::service) fn new(service: &Service) -> Self {
        let meter = StormMeter::new(service.storm_limit);
        Self { meter, kernel: KernelTotals::new(), uncounted: BTreeSet::new() }
    }

    /// See [`StormWatch::look`].
    pub(in crate::service) fn look(&mut self, service: &Service, now: Duration) -> Looked {
        let (sources, in_use) = service.lock().sources();
        self.kernel.begin_look();
        let mut counts = Vec::with_capacity(sources.len());
        for (id, source) in sources {
            match source.and_then(|source| source.sum(&self.kernel)) {
                Some(count) => counts.push((id, count)),
                None => self.tell_uncounted(service, id),
            }
        }
        let mut storms = self.meter.look(now, &counts);
        storms.retain(|storm| service.cut_off_for(*storm));
        Looked { storms, in_use }
    }

    fn tell_uncounted(&mut self, service: &Service, id: DeviceId) {
        if !service.storm_limit.is_off() && self.uncounted.insert(id) {
            let vm = service.lock();
            vm.log.warn(|| {
                format!("the host does not tell the interrupts of device {id}: a storm of it is not found")
            });
        }
    }
}

/// A device and who counts its interrupts, if anybody does.
type Source = (DeviceId, Option<Arc<dyn HostCounts>>);

impl Vm {
    /// Who counts the interrupts of each device, and whether any interrupt could come.
    fn sources(&self) -> (Vec<Source>, bool) {
        let source = |(id, attached): (&DeviceId, &Attached)| (*id, attached.device.host_counts());
        let trapped = |attached: &Attached| attached.trapped.as_ref().is_some_and(Trapped::is_in_use);
        let in_use = self.devices.iter().any(|(_, attached)| attached.held > 0 || trapped(attached))
            || self.lines.has_unreleased(|_| true);
        (self.devices.iter().map(source).collect(), in_use)
    }
}

impl Service {
    /// Cuts a device off. Answers whether it was not before, and is there.
    fn cut_off_for(&self, storm: Storm) -> bool {
        if let Some(attached) =
            self.lock().devices.get_mut(&storm.device).filter(|attached| !attached.cut_off)
        {
            attached.storm = Some(storm);
        }
        let raised = self.raise(Event::DeviceCutOff(storm.device));
        let is_new = raised.is_ok_and(|raised| raised.is_new);
        if is_new {
            self.statistics.count_storm();
            self.lock().log.warn(|| {
                let Storm { device, interrupts, window, limit, of_vm } = storm;
                let whose = if of_vm { "all devices of the VM" } else { "a device" };
                format!(
                    "device {device} has raised {interrupts} interrupts in {} ms and is cut off: the limit of {whose} \
                     is {limit} a second",
                    window.as_millis()
                )
            });
        }
        is_new
    }

    /// The devices that are cut off, by their ids.
    #[must_use]
    pub fn cut_off_devices(&self) -> Vec<CutOffDevice> {
        let vm = self.lock();
        let cut_off = vm.devices.iter().filter(|(_, attached)| attached.cut_off);
        cut_off.map(|(id, attached)| CutOffDevice { device: *id, storm: attached.storm }).collect()
    }
}
