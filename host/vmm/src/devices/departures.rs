//! Devices that a guest has let go, or that were taken from it: out of its reach at once, and given back by the main thread.
//!
//! A vCPU takes a device out, by its write of a register, and may not close what the host has lent: its sandbox does not let
//! it. Others may be in the middle of an access, and hold the device for as long as that takes.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pvir_host::device::Device;
use pvir_host::eventfd::EventFd;
use pvir_host::service::Service;

use crate::pci::bus::{PciBus, Slot};
use crate::pci::devfn::DevFn;

/// A device that is out of the guest's reach.
struct Departed {
    slot: Arc<Slot>,
    /// What the service had of it. It goes first.
    device: Option<Box<dyn Device>>,
}

/// The devices on their way out.
pub(crate) struct Departures {
    bus: Arc<PciBus>,
    service: Arc<Service>,
    waiting: Mutex<Vec<Departed>>,
    /// Place, serial number and name of those that the host does not have back yet.
    closing: Mutex<Vec<(DevFn, u64, String)>>,
    event: EventFd,
}

impl Departures {
    pub(crate) fn new(bus: Arc<PciBus>, service: Arc<Service>) -> io::Result<Self> {
        Ok(Self {
            bus,
            service,
            waiting: Mutex::default(),
            closing: Mutex::default(),
            event: EventFd::new()?,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Departed>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a device out: when this returns the guest reaches nothing of it, and it raises nothing. Answers with the
    /// serial number of its slot; `None` if there is none at this place.
    pub(crate) fn take_out(&self, place: DevFn) -> Option<u64> {
        let slot = self.bus.take(place)?;
        let serial = slot.serial();
        self.closing_list().push((place, serial, slot.function().name()));
        // The scratch device is none of the service's.
        let device = self.service.remove_device(place.id()).ok().map(|(_, device)| device);
        slot.function().withdraw();
        self.waiting().push(Departed { slot, device });
        // Full is as good as written.
        let _ = self.event.signal();
        Some(serial)
    }

    fn closing_list(&self) -> MutexGuard<'_, Vec<(DevFn, u64, String)>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Place, serial number and name of each device that the host does not have back yet.
    pub(crate) fn closing(&self) -> Vec<(DevFn, u64, String)> {
        self.closing_list().clone()
    }

    /// The host has the device back whose slot had this number.
    pub(crate) fn has_ended(&self, serial: u64) {
        self.closing_list().retain(|(_, other, _)| *other != serial);
    }

    /// Devices that nobody holds any more. What is still in use stays for the next time.
    pub(crate) fn unused(&self) -> Vec<Slot> {
        // EAGAIN: nothing new.
        let _ = self.event.read();
        let mut waiting = self.waiting();
        waiting.iter_mut().for_each(|departed| drop(departed.device.take()));
        let (mut unused, mut used) = (Vec::new(), Vec::new());
        for Departed { slot, .. } in waiting.drain(..) {
            match Arc::try_unwrap(slot) {
                Ok(slot) => {
                    // The test device comes again by a register of its own, also in an access that was being served.
                    if self.bus.slot(slot.devfn()).is_none() {
                        drop(self.service.remove_device(slot.devfn().id()));
                    }
                    unused.push(slot);
                }
                Err(slot) => used.push(Departed { slot, device: None }),
            }
        }
        *waiting = used;
        unused
    }

    /// Whether some devices are still in use.
    pub(crate) fn are_left(&self) -> bool {
        !self.waiting().is_empty()
    }
}

impl AsRawFd for Departures {
    /// Readable when there is something to be given back.
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
