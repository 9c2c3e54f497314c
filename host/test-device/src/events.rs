//! Events that a guest may have raised for this device, to see how its host and its own driver take them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pvir_abi::{DeviceId, EventReason};
use pvir_host::device::Device;
use pvir_host::service::{Event, Service};

/// The reasons that can be asked for.
const REASONS: [EventReason; 3] =
    [EventReason::STALE_PAIRS, EventReason::DEVICE_GONE, EventReason::DEVICE_CUT_OFF];

/// Raises events of one device of a service.
pub(crate) struct DeviceEvents {
    /// The service has the device: not the other way round.
    service: Weak<Service>,
    id: DeviceId,
    /// The device while it is gone.
    gone: Mutex<Option<Box<dyn Device>>>,
}

impl DeviceEvents {
    /// Of the device `id` of `service`.
    pub(crate) fn new(service: &Arc<Service>, id: DeviceId) -> Self {
        Self { service: Arc::downgrade(service), id, gone: Mutex::new(None) }
    }

    /// The reasons that can be asked for, a bit each.
    pub(crate) fn reasons() -> u32 {
        REASONS.iter().fold(0, |bits, reason| bits | 1 << reason.0)
    }

    /// Raises an event for the device; with NONE ends what an earlier one has left. What cannot be done is left.
    pub(crate) fn request(&self, reason: EventReason) {
        let Some(service) = self.service.upgrade() else { return };
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            EventReason::NONE => self.bring_back(&service, &mut gone),
            EventReason::DEVICE_GONE => {
                if let Ok((_, device)) = service.remove_device(self.id) {
                    *gone = Some(device);
                }
            }
            reason => {
                // Where it is refused, nothing has happened: the guest sees that no event came.
                let _ = Event::new(reason, Some(self.id)).map(|event| service.raise(event));
            }
        }
    }

    fn bring_back(&self, service: &Service, gone: &mut Option<Box<dyn Device>>) {
        // It is not there if it has gone.
        let _ = service.readmit(self.id);
        // It came from there, and nothing else can have come in its place.
        let _ = gone.take().map(|device| service.add_device(self.id, device));
    }
}
