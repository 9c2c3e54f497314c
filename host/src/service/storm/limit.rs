//! How many interrupts a device may raise.

use std::num::NonZeroU32;

/// How many interrupts a second each device may raise, and all devices of a VM together. A device that raises more is cut
/// off ([`Event::DeviceCutOff`](crate::service::Event::DeviceCutOff)).
///
/// A rate is judged over a window of 50 ms, so that as many as belong into it may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StormLimit {
    /// `None` for no limit.
    device: Option<NonZeroU32>,
    vm: Option<NonZeroU32>,
}

impl StormLimit {
    /// The lowest limit: what is below cannot be told from single interrupts within the window.
    pub const MIN: u32 = 1_000;
    /// No limit.
    pub const OFF: Self = Self { device: None, vm: None };
    /// Of the default: more than one CPU of the host can take, and than any device is known to need.
    const DEVICE: u32 = 2_000_000;
    /// A VM may have so many times what a device may have, where nothing else was said.
    const DEVICES: u32 = 4;

    /// So many interrupts a second of a device, and four times as many of all devices together. Less than
    /// [`MIN`](Self::MIN) is `MIN`.
    #[must_use]
    pub fn per_second(rate: u32) -> Self {
        Self { device: at_least_min(rate), vm: at_least_min(rate.saturating_mul(Self::DEVICES)) }
    }

    /// With so many interrupts a second of all devices together; at least [`MIN`](Self::MIN).
    #[must_use]
    pub fn with_vm(self, rate: u32) -> Self {
        Self { vm: at_least_min(rate), ..self }
    }

    /// Interrupts a second of a device; `None` for no limit.
    #[must_use]
    pub fn device(&self) -> Option<u32> {
        self.device.map(NonZeroU32::get)
    }

    /// Interrupts a second of all devices together; `None` for no limit.
    #[must_use]
    pub fn vm(&self) -> Option<u32> {
        self.vm.map(NonZeroU32::get)
    }

    /// Whether there is nothing to be watched.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.device.is_none() && self.vm.is_none()
    }
}

fn at_least_min(rate: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(rate.max(StormLimit::MIN))
}

/// Two million interrupts a second of a device, and eight of a VM.
impl Default for StormLimit {
    fn default() -> Self {
        Self::per_second(Self::DEVICE)
    }
}
