//! The reset of a device that its guest, or the VMM for it, has asked for.
//!
//! The host's kernel writes configuration space back after a reset, and with it what it has cached of MSI-X: the messages,
//! which are the pairs that guests were given, and mask bits of its own. So entries that are started come back *unmasked*,
//! and are masked here again. Pairs that are not what the guest was given would be a kernel that does otherwise: the guest
//! is told.

use super::Service;
use super::events::Event;
use super::vm::Vm;
use crate::device::Origin;
use crate::irte::Irte;
use crate::line::Line;
use crate::work::Cost;
use pvir_abi::{DeviceId, Store};
use std::io;

impl Service {
    /// Resets the device `id` by calling `reset`, and brings what the service has of it into the state after a reset
    /// (`docs/abi.md`, section 8, "Resets").
    ///
    /// IRTEs stay, parked or routed, with their handles and pairs. Every entry is masked, and what was held for parked
    /// entries is dropped. Trapped stores are disabled, masked and cleared.
    ///
    /// A device that was cut off goes on. If an entry has another pair than the guest was given, STALE_PAIRS is raised: no
    /// kernel is known with which that happens.
    ///
    /// `reset` resets the device itself, with its bus mastering off. It is called without the service's lock, because a
    /// function level reset takes 100 ms. It must not call this service. Several vCPUs may reset a device at the same time.
    ///
    /// # Errors
    /// `NotFound` if the VM does not have the device; otherwise the error of `reset`, or of masking an entry. Everything
    /// else was done all the same.
    pub fn reset_device(&self, id: DeviceId, reset: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.lock_first().clear_trapped(id)?;
        let done = reset();
        let settled = {
            let mut vm = self.lock_first();
            // What another vCPU has programmed meanwhile was reset too.
            vm.clear_trapped(id)?;
            vm.drop_held(id);
            vm.settle_entries(id)
        };
        let Settled { masked, has_pairs } = settled;
        if !has_pairs {
            // Nobody else knows, if no guest has enabled pvir any more.
            let _ = self.raise(Event::StalePairs(Some(id)));
        }
        done.and(masked)?;
        // Whoever was cut off goes on after a reset. Gone meanwhile is no error of the reset.
        let _ = self.readmit(id);
        Ok(())
    }
}

/// What became of a device's entries.
struct Settled {
    /// Whether all are masked.
    masked: io::Result<()>,
    /// Whether each has the pair that the guest was given.
    has_pairs: bool,
}

impl Vm {
    /// Takes a device's trapped messages down, and resets the registers that it is shown.
    fn clear_trapped(&mut self, id: DeviceId) -> io::Result<()> {
        self.devices.get(&id).ok_or(io::ErrorKind::NotFound)?;
        self.reset_trapped(id);
        Ok(())
    }

    /// Forgets what was raised for parked entries, and what is held for entries that are yet to be mapped.
    fn drop_held(&mut self, id: DeviceId) {
        self.owed.forget_device(id);
        for (_, irte) in self.irtes.iter().filter(|(_, irte)| irte.origin.device == id) {
            irte.lines.iter().filter(|line| !line.is_attached()).for_each(Line::drain);
        }
    }

    /// Masks a device's entries, mapped or not, and sees whether each that is mapped has the pair that the guest was given.
    fn settle_entries(&mut self, id: DeviceId) -> Settled {
        let Self { devices, irtes, lines, log, .. } = self;
        let mut settled = Settled { masked: Ok(()), has_pairs: true };
        let Some(attached) = devices.get_mut(&id) else { return settled };
        if attached.open {
            let entries = attached.device.capabilities().entries(Store::MSIX).unwrap_or(0);
            lines.work().add(Cost::PAIR.times(usize::try_from(entries).unwrap_or(usize::MAX)));
            settled.masked = attached.device.mask_all();
        }
        let of_device = irtes.iter().filter(|(_, irte)| irte.origin.device == id);
        for Irte { origin, pair, .. } in of_device.map(|(_, irte)| irte) {
            let Origin { store, index, .. } = *origin;
            lines.work().add(Cost::PAIR);
            settled.masked = settled.masked.and(attached.device.mask(store, index).map(drop));
            let what = match attached.device.pair(store, index) {
                Ok(now) if now == *pair => continue,
                Ok(now) => format!("is {now}, and was {pair}"),
                Err(error) => format!("cannot be read: {error}"),
            };
            log.warn(|| format!("the pair of {origin} {what} after a reset"));
            settled.has_pairs = false;
        }
        settled
    }
}
