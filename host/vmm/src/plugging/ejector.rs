//! Takes devices out of a guest's reach, and out of the report.

use std::sync::Arc;

use super::request::{PluggedDevice, State};
use crate::devices::departures::Departures;
use crate::observation::report::devices::DeviceList;
use crate::pci::bus::Slot;
use crate::pci::devfn::DevFn;
use crate::vcpu::exit_counters::ExitCounters;

/// What takes devices out. Any thread may, a vCPU's too.
pub(crate) struct Ejector {
    pub(crate) departures: Departures,
    pub(crate) devices: Arc<DeviceList>,
    pub(crate) exits: Arc<ExitCounters>,
}

impl Ejector {
    /// When this returns the guest reaches nothing of what is at this place, and it raises nothing. `None` if nothing is.
    pub(crate) fn take_out(&self, place: DevFn) -> Option<PluggedDevice> {
        let serial = self.departures.take_out(place)?;
        let row = usize::from(place.number());
        let name = self.devices.remove(row, &self.exits)?.name;
        Some(PluggedDevice { device: place.id().to_string(), id: serial, name, state: State::Closing })
    }

    /// A device has come.
    pub(super) fn add(&self, slot: &Slot) {
        self.devices.add(slot.into(), &self.exits);
    }
}
