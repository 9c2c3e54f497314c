//! A function's message stores as the service emulates them, until the guest has them to program.

use crate::service::{Event, Service};
use crate::trapped::StoreArea;
use crate::work::Cost;
use pvir_abi::DeviceId;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The target of the log of trapped accesses: a name that stays, whatever the files are called.
const ACCESS_LOG: &str = "pvir_host::accesses";

/// The way from a function's accesses to the service.
pub(super) struct TrappedStores {
    service: Arc<Service>,
    id: DeviceId,
    /// The registers of the MSI or MSI-X capability in config space, id and link included.
    capability: Range<u16>,
}

impl TrappedStores {
    /// Of the service's device `id`, whose capability, if it has one, is there.
    pub(super) fn new(service: Arc<Service>, id: DeviceId, capability: Range<u16>) -> Self {
        Self { service, id, capability }
    }

    /// Serves a read of a structure in a BAR. `device` is asked if the store is the guest's own, under the service's lock.
    pub(super) fn read(&self, area: StoreArea, offset: u64, data: &mut [u8], device: impl FnOnce(&mut [u8])) {
        if self.service.trapped_read(self.id, area, offset, data, device).is_err() {
            data.fill(0xff);
        }
        self.trace("guest reads", area, offset, data);
    }

    /// Serves a write to a store: the service's while it traps the store, otherwise the device's, under the service's lock.
    pub(super) fn write(&self, area: StoreArea, offset: u64, data: &[u8], device: impl FnOnce(&[u8])) {
        // First, so that what the access causes stands behind it.
        self.trace("guest writes", area, offset, data);
        // The store belongs to a device that the service has; a write to another one goes nowhere.
        let _ = self.service.trapped_write(self.id, area, offset, data, device);
    }

    /// Charges the guest for memory slots that it has moved. The vCPU waits if the guest moves too many.
    pub(super) fn charge_slots(&self, slots: usize) {
        if slots > 0 {
            self.service.spend(Cost::MEMORY_SLOT.times(slots));
        }
    }

    /// Resets the device by `reset`, and with it what the service has of it.
    pub(super) fn reset(&self, reset: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.service.reset_device(self.id, reset)
    }

    /// The device was reset, and its guest has not asked for it: the guest is told.
    pub(super) fn was_reset(&self) {
        // What is held of it goes with the reset. A guest that has not enabled pvir is told by nobody.
        let _ = self.service.reset_device(self.id, || Ok(()));
        let _ = self.service.raise(Event::StalePairs(Some(self.id)));
    }

    /// Charges the guest for a reset that it has asked for, with the memory slots that were moved.
    pub(super) fn charge_reset(&self, slots: usize) {
        self.service.spend(Cost::RESET + Cost::MEMORY_SLOT.times(slots));
    }

    /// Tells of an access, access by access as the guest makes them: xtask's `intel/linux-accesses` reads these lines.
    fn trace(&self, what: &str, area: StoreArea, offset: u64, data: &[u8]) {
        tracing::trace!(target: ACCESS_LOG, device = %self.id, place = ?area, offset, value = %Hex(data), "{what}");
    }

    /// Serves what of a read of config space, inside of a doubleword, is the capability's registers.
    pub(super) fn config_read(&self, offset: u16, data: &mut [u8], device: impl FnOnce(u16, &mut [u8])) {
        let Some((part, at)) = self.registers(offset, data.len()) else { return };
        let place = part.start;
        if let Some(bytes) = data.get_mut(part) {
            let first = u16::try_from(place).map_or(u16::MAX, |skipped| offset.saturating_add(skipped));
            self.read(StoreArea::Capability, at, bytes, |bytes| device(first, bytes));
        }
    }

    /// Serves a write to config space: what of it lies in the capability goes to the service.
    pub(super) fn config_write(&self, offset: u16, data: &[u8], device: impl FnOnce(u16, &[u8])) {
        let Some((part, at)) = self.registers(offset, data.len()) else { return };
        let place = part.start;
        if let Some(bytes) = data.get(part) {
            let first = u16::try_from(place).map_or(u16::MAX, |skipped| offset.saturating_add(skipped));
            self.write(StoreArea::Capability, at, bytes, |bytes| device(first, bytes));
        }
    }

    /// Which bytes of an access are registers behind id and link, and where these are in the capability.
    fn registers(&self, offset: u16, len: usize) -> Option<(Range<usize>, u64)> {
        let end = offset.saturating_add(u16::try_from(len).ok()?);
        let Range { start, end: behind } = self.capability;
        let (first, last) = (offset.max(start.saturating_add(2)), end.min(behind));
        (first < last)
            .then(|| (usize::from(first - offset)..usize::from(last - offset), u64::from(first - start)))
    }
}

/// The bytes of an access as the number that they are.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_its_width() {
        assert_eq!(Hex(&[1, 0, 0xe0, 0xfe]).to_string(), "0xfee00001");
        assert_eq!(Hex(&[0x21, 0]).to_string(), "0x0021");
    }
}
