//! The devices that a report names: those that are there, and of each place the last one that has gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pvir_abi::DeviceId;
use serde::Serialize;

use crate::pci::bus::Slot;
use crate::vcpu::exit_counters::{AccessKind, ExitCounters};

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceName {
    pub(crate) id: DeviceId,
    /// Where it is on the host, if it is a device of the host.
    pub(crate) host: Option<DeviceId>,
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) bars: Vec<usize>,
    /// The BAR of the MSI-X table.
    pub(crate) msix_bar: Option<usize>,
    /// Its row in the counters.
    pub(crate) row: usize,
}

impl From<&Slot> for DeviceName {
    fn from(slot: &Slot) -> Self {
        let function = slot.function();
        Self {
            id: slot.devfn().id(),
            host: function.host_address(),
            address: slot.devfn().to_string(),
            name: function.name(),
            msix_bar: function.msix_table_bar().map(usize::from),
            bars: function.bars().iter().map(|(bar, _)| usize::from(*bar)).collect(),
            row: slot.index(),
        }
    }
}

/// Trapped accesses to a PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeviceSummary {
    pub(crate) address: String,
    pub(crate) name: String,
    /// Whether it has gone: these are its last counts.
    pub(crate) unplugged: bool,
    pub(crate) config_reads: u64,
    pub(crate) config_writes: u64,
    pub(crate) bars: Vec<BarSummary>,
}

/// Trapped accesses to a BAR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BarSummary {
    pub(crate) bar: usize,
    /// Whether the MSI-X table is in it.
    pub(crate) msix: bool,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

impl DeviceSummary {
    /// All that was counted in the function's row.
    fn of_row(device: &DeviceName, exits: &ExitCounters) -> Self {
        let bar = |bar: &usize| {
            let of = |access| exits.bar(device.row, *bar, access);
            let (reads, writes) = (of(AccessKind::Read), of(AccessKind::Write));
            BarSummary { bar: *bar, msix: device.msix_bar == Some(*bar), reads, writes }
        };
        Self {
            address: device.address.clone(),
            name: device.name.clone(),
            unplugged: false,
            config_reads: exits.config(device.row, AccessKind::Read),
            config_writes: exits.config(device.row, AccessKind::Write),
            bars: device.bars.iter().map(bar).collect(),
        }
    }

    /// Without what was counted before the device came, in the same row.
    fn since(mut self, before: &Self) -> Self {
        self.config_reads -= before.config_reads.min(self.config_reads);
        self.config_writes -= before.config_writes.min(self.config_writes);
        for (bar, before) in self.bars.iter_mut().zip(&before.bars) {
            bar.reads -= before.reads.min(bar.reads);
            bar.writes -= before.writes.min(bar.writes);
        }
        self
    }
}

#[derive(Debug)]
struct Present {
    device: DeviceName,
    /// What was in its row when it came.
    before: DeviceSummary,
}

#[derive(Debug, Default)]
struct Places {
    present: BTreeMap<usize, Present>,
    gone: BTreeMap<usize, (DeviceName, DeviceSummary)>,
    /// Devices that have gone.
    unplugged: u64,
}

/// The list. Devices come and go while it is read.
#[derive(Debug, Default)]
pub(crate) struct DeviceList(Mutex<Places>);

impl DeviceList {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device has come.
    pub(crate) fn add(&self, device: DeviceName, exits: &ExitCounters) {
        let before = DeviceSummary::of_row(&device, exits);
        self.places().present.insert(device.row, Present { device, before });
    }

    /// The device with this row has gone. It is the answer, if there was one.
    pub(crate) fn remove(&self, row: usize, exits: &ExitCounters) -> Option<DeviceName> {
        let mut places = self.places();
        let Present { device, before } = places.present.remove(&row)?;
        let last = DeviceSummary::of_row(&device, exits).since(&before);
        places.gone.insert(row, (device.clone(), DeviceSummary { unplugged: true, ..last }));
        places.unplugged += 1;
        Some(device)
    }

    /// Names of devices, for what is said of them by their ids: that of a place is the one that is there, or was last.
    pub(crate) fn names(&self) -> Vec<DeviceName> {
        let places = self.places();
        let mut names: BTreeMap<usize, &DeviceName> =
            places.gone.iter().map(|(row, (device, _))| (*row, device)).collect();
        names.extend(places.present.iter().map(|(row, present)| (*row, &present.device)));
        names.into_values().cloned().collect()
    }

    /// What was counted of each: of those that are there, and behind them of those that have gone.
    pub(crate) fn summaries(&self, exits: &ExitCounters) -> Vec<DeviceSummary> {
        let places = self.places();
        let present = places.present.values();
        let present =
            present.map(|present| DeviceSummary::of_row(&present.device, exits).since(&present.before));
        present.chain(places.gone.values().map(|(_, last)| last.clone())).collect()
    }

    /// How many devices have gone.
    pub(crate) fn unplugged(&self) -> u64 {
        self.places().unplugged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, row: usize) -> DeviceName {
        DeviceName {
            id: DeviceId::default(),
            host: None,
            address: format!("00:{row:02x}.0"),
            name: name.to_owned(),
            bars: vec![0],
            msix_bar: None,
            row,
        }
    }

    #[test]
    fn a_place_has_the_counts_of_the_device_that_is_there_and_of_the_last_one_that_has_gone() {
        let (exits, list) = (ExitCounters::new(1, 4), DeviceList::default());
        let count = || exits.rows()[0].count_config(2, AccessKind::Read);
        list.add(device("first", 2), &exits);
        count();
        list.remove(2, &exits);
        count();
        count();
        list.add(device("second", 2), &exits);
        list.add(device("other", 1), &exits);
        count();
        let told: Vec<_> = list
            .summaries(&exits)
            .into_iter()
            .map(|device| (device.name, device.unplugged, device.config_reads))
            .collect();
        let expected = [("other", false, 0), ("second", false, 1), ("first", true, 1)];
        assert_eq!(told, expected.map(|(name, gone, count)| (name.to_owned(), gone, count)));
        let names: Vec<_> = list.names().into_iter().map(|device| device.name).collect();
        assert_eq!(names, ["other", "second"]);
        list.remove(2, &exits);
        list.remove(2, &exits);
        assert_eq!(list.unplugged(), 2);
        assert_eq!(list.names()[1].name, "second");
        assert_eq!(list.summaries(&exits).len(), 2);
    }
}
