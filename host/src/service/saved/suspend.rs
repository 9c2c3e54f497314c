//! Devices of the host in a save: they are stopped, and what goes with them is taken over.

use super::save::{SaveError, SaveOptions};
use crate::service::vm::{Attached, Vm};
use pvir_abi::{DeviceId, Features, Store};
use std::collections::BTreeMap;

/// The entries of MSI-X for which a device itself holds an interrupt, of each device that is found reset.
pub(super) type Pending = BTreeMap<DeviceId, Vec<u32>>;

impl Vm {
    /// Whether the guest is told of each device that it will find reset, or `options` have it that it need not be.
    pub(super) fn check_told(&self, options: SaveOptions) -> Result<(), SaveError> {
        let is_told = |attached: &Attached| attached.open && self.enabled().contains(Features::EPOCH);
        let untold = |(_, attached): &(&DeviceId, &Attached)| {
            !attached.device.is_saved() && !is_told(attached) && !options.resets_untold
        };
        match self.devices.iter().find(untold) {
            Some((device, attached)) => {
                Err(SaveError::Untold { device: *device, name: attached.device.name() })
            }
            None => Ok(()),
        }
    }

    /// Stops the devices that are found reset, or none of them. What they hold for their entries of MSI-X is the host's to
    /// hold from here on.
    pub(super) fn suspend_devices(&mut self) -> Result<Pending, SaveError> {
        let mut all = Pending::new();
        let mut failed = None;
        for (id, attached) in self.devices.iter_mut_by_id() {
            if attached.device.is_saved() {
                continue;
            }
            match attached.device.suspend(Store::MSIX) {
                Ok(pending) => _ = all.insert(id, pending),
                Err(source) => {
                    failed = Some(SaveError::Suspend { device: id, name: attached.device.name(), source });
                    break;
                }
            }
        }
        match failed {
            None => Ok(all),
            Some(error) => {
                // The first failure is the one to report.
                let _ = self.wake_devices();
                Err(error)
            }
        }
    }

    /// Lets them go on: each of them, whatever became of another. The first failure is the answer.
    pub(super) fn wake_devices(&mut self) -> Result<(), SaveError> {
        let mut outcome = Ok(());
        for (device, attached) in self.devices.iter_mut_by_id() {
            let woken = attached.device.wake();
            let failed = |source| SaveError::Wake { device, name: attached.device.name(), source };
            outcome = outcome.and(woken.map_err(failed));
        }
        outcome
    }
}
