//! The requests of the control socket, and what is answered.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use pvir_abi::DeviceId;
use pvir_host::vfio::VfioWay;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::desk::{PlugDesk, Wish};
use super::ejector::Ejector;
use crate::device_spec::DeviceSpec;
use crate::devices::host_files::HostFiles;
use crate::pci::bus::PciBus;
use crate::pci::devfn::DevFn;
use crate::pci::hotplug::HotplugPorts;

/// A device, as the socket carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluggedDevice {
    /// Where the guest finds it.
    pub(crate) device: String,
    /// What tells it from all others of this run, also from the next one at its place.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: State,
}

impl PluggedDevice {
    pub(super) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }
}

/// How far it is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It is there.
    Present,
    /// It is there, and the guest was asked to let it go.
    Leaving,
    /// The guest does not have it any more, and the host does not have it back yet.
    Closing,
}

/// What a request needs.
#[derive(Clone, Copy)]
pub(crate) struct Plugging<'a> {
    pub(crate) desk: &'a PlugDesk,
    pub(crate) bus: &'a PciBus,
    pub(crate) hotplug: &'a HotplugPorts,
    pub(crate) ejector: &'a Ejector,
    /// The way to the VM's host devices, if it has had one, or if the user has chosen it.
    pub(crate) way: &'a OnceLock<VfioWay>,
}

/// Answers `plug DEVICE`, `plug DEVICE WAY` with the files of a host device, `unplug PLACE`, `unplug PLACE force` and `devices`; `None` to any other request.
///
/// # Errors
/// What is wrong with it, or why it was not done.
pub(crate) fn answer(plugging: Plugging<'_>, request: &str, files: Vec<OwnedFd>) -> Option<Result<String>> {
    let json = |device: Result<PluggedDevice>| Ok(serde_json::to_string(&device?)?);
    if request == "devices" {
        return Some(Ok(
            json!({ "devices": list(plugging), "vfio": plugging.way.get().map(ToString::to_string) })
                .to_string(),
        ));
    }
    Some(wish(request, files)?.and_then(|wish| json(plugging.desk.ask(wish))))
}

/// What `plug` and `unplug` ask for; `None` of any other request.
pub(super) fn wish(request: &str, files: Vec<OwnedFd>) -> Option<Result<Wish>> {
    match request.split_once(' ')? {
        ("plug", rest) => Some(plugging_in(rest, files).context("plug")),
        ("unplug", rest) => Some(unplugging(rest).context("unplug")),
        _ => None,
    }
}

fn plugging_in(rest: &str, files: Vec<OwnedFd>) -> Result<Wish> {
    let (spec, way) = rest.split_once(' ').map_or((rest, None), |(spec, way)| (spec, Some(way)));
    let spec: DeviceSpec = spec.parse().map_err(anyhow::Error::msg)?;
    match way {
        Some(_) if !matches!(spec, DeviceSpec::Vfio(_)) => bail!("only a device of the host has files"),
        way => Ok(Wish::Plug(spec, way.map(|way| HostFiles::received(way, files)).transpose()?)),
    }
}

fn unplugging(rest: &str) -> Result<Wish> {
    let (device, wish): (_, fn(DevFn) -> Wish) = match rest.split_once(' ') {
        None => (rest, Wish::Unplug),
        Some((device, "force")) => (device, Wish::ForceOut),
        Some((_, word)) => bail!("{word:?} is no way to unplug; there is `force`"),
    };
    let id: DeviceId = device.parse().with_context(|| format!("{device:?}"))?;
    DevFn::of(id).map(wish).with_context(|| format!("the VM has no device {id}"))
}

/// All devices but the host bridge, in the order of their places; behind them those that the host has not back yet.
fn list(Plugging { bus, hotplug, ejector, .. }: Plugging<'_>) -> Vec<PluggedDevice> {
    let devices = bus.slots().filter(|slot| slot.devfn().number() != 0).map(|slot| {
        let state = if hotplug.is_leaving(slot.devfn()) { State::Leaving } else { State::Present };
        let device = slot.devfn().id().to_string();
        PluggedDevice { device, id: slot.serial(), name: slot.function().name(), state }
    });
    let closing = ejector.departures.closing().into_iter().map(|(place, id, name)| PluggedDevice {
        device: place.id().to_string(),
        id,
        name,
        state: State::Closing,
    });
    devices.chain(closing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unplugging_names_a_place_and_perhaps_a_way() {
        let place = |number| DevFn::device(number);
        assert!(matches!(unplugging("00:03.0"), Ok(Wish::Unplug(found)) if found == place(3)));
        assert!(matches!(unplugging("0000:00:1f.0 force"), Ok(Wish::ForceOut(found)) if found == place(31)));
        for bad in ["", "3", "00:20.0", "00:03.0 please", "00:03.0  force", "0001:00:03.0", "01:03.0"] {
            assert!(unplugging(bad).is_err(), "{bad:?}");
        }
    }
}
