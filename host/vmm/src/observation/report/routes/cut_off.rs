//! Devices that are cut off: nothing of them has a route until they are let go on.

use pvir_host::service::{CutOffDevice, Storm};
use serde::{Deserialize, Serialize};

use crate::observation::report::devices::DeviceName;

/// A device that is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CutOffRow {
    /// The device as the guest sees it.
    pub(crate) guest: String,
    /// The device as the host's user knows it.
    pub(crate) device: String,
    /// Why, if it was for its interrupts.
    pub(crate) storm: Option<StormRow>,
}

/// What a device has raised when it was cut off for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StormRow {
    pub(crate) interrupts: u64,
    /// The time over which they came.
    pub(crate) window_us: u64,
    /// The limit that was passed, a second.
    pub(crate) limit: u32,
    /// Whether it is the limit of all devices together.
    pub(crate) of_vm: bool,
}

impl CutOffRow {
    /// The rows of these devices.
    pub(crate) fn of(cut_off: &[CutOffDevice], devices: &[DeviceName]) -> Vec<Self> {
        let name =
            |id| devices.iter().find(|device| device.id == id).map_or_else(String::new, |it| it.name.clone());
        let row = |cut_off: &CutOffDevice| Self {
            guest: cut_off.device.to_string(),
            device: name(cut_off.device),
            storm: cut_off.storm.as_ref().map(StormRow::of),
        };
        cut_off.iter().map(row).collect()
    }

    /// For people, in a line.
    pub(crate) fn describe(&self) -> String {
        let why = match &self.storm {
            Some(StormRow { interrupts, window_us, limit, of_vm }) => {
                let whose = if *of_vm { "all devices may raise" } else { "it may raise" };
                format!("{interrupts} interrupts in {} ms, and {whose} {limit} a second", window_us / 1000)
            }
            None => "by an event that was raised by hand, or before the VM was restored".to_owned(),
        };
        format!(
            "cut off: {} ({}): {why}; `pvir event --device {} --readmit` lets it go on",
            self.guest, self.device, self.guest
        )
    }
}

impl StormRow {
    fn of(storm: &Storm) -> Self {
        let window_us = u64::try_from(storm.window.as_micros()).unwrap_or(u64::MAX);
        Self { interrupts: storm.interrupts, window_us, limit: storm.limit, of_vm: storm.of_vm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_why_and_what_can_be_done() {
        let storm = StormRow { interrupts: 7500, window_us: 50_123, limit: 100_000, of_vm: false };
        let mut row =
            CutOffRow { guest: "0000:00:01.0".into(), device: "emulated".into(), storm: Some(storm) };
        let expected = "cut off: 0000:00:01.0 (emulated): 7500 interrupts in 50 ms, and it may raise 100000 a second; \
                        `pvir event --device 0000:00:01.0 --readmit` lets it go on";
        assert_eq!(row.describe(), expected);
        row.storm = None;
        assert!(row.describe().contains("raised by hand"));
    }
}
