//! A fake KVM and fake devices for tests, stricter than the real ones. Feature `fake`.
//!
//! The real KVM accepts nearly any call in any order, and a mistake in the order shows late or never. [`FakeKvm`] and
//! [`FakeDevice`] share one [`FakePlatform`], which knows the safe order of routes, irqfds and interrupts. It records
//! every call and every breach of that order, and injects failures into the calls that a test chooses.
//!
//! A test makes a [`SharedPlatform`] and builds the service over it. For each request it announces the operation with
//! [`FakePlatform::expect`], calls the service, and asserts that [`FakePlatform::check`] finds no breach.

mod counts;
mod device;
mod faults;
mod identity;
mod kvm;
mod order;
mod platform;

pub use device::FakeDevice;
pub use faults::Faults;
pub use kvm::FakeKvm;
pub use platform::{Delivery, FakePlatform, Footprint, SharedPlatform};

use pvir_abi::Store;

/// The kind of a call that the service makes to the fake KVM or to a fake device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum CallKind {
    /// `KVM_SET_GSI_ROUTING`.
    SetRoutes,
    /// `KVM_IRQFD`, assign.
    Attach,
    /// `KVM_IRQFD`, assign, ahead of the entry that will use it.
    Arm,
    /// `KVM_IRQFD`, de-assign.
    Detach,
    /// [`Device::start`](crate::device::Device::start).
    Start,
    /// [`Device::stop`](crate::device::Device::stop).
    Stop,
    /// [`Device::pair`](crate::device::Device::pair).
    Pair,
    /// [`Device::mask`](crate::device::Device::mask).
    Mask,
    /// [`Device::open`](crate::device::Device::open).
    Open,
    /// [`Device::close`](crate::device::Device::close).
    Close,
    /// [`Device::trap`](crate::device::Device::trap).
    Trap,
    /// [`Device::untrap`](crate::device::Device::untrap).
    Untrap,
    /// `KVM_SIGNAL_MSI`.
    Signal,
    /// [`Device::suspend`](crate::device::Device::suspend).
    Suspend,
    /// [`Device::wake`](crate::device::Device::wake) of a device that was suspended.
    Wake,
    /// [`Device::hold_off`](crate::device::Device::hold_off).
    HoldOff,
}

impl CallKind {
    /// Every kind of call.
    pub const ALL: [Self; 16] = [
        Self::SetRoutes,
        Self::Attach,
        Self::Arm,
        Self::Detach,
        Self::Start,
        Self::Stop,
        Self::Pair,
        Self::Mask,
        Self::Open,
        Self::Close,
        Self::Trap,
        Self::Untrap,
        Self::Signal,
        Self::Suspend,
        Self::Wake,
        Self::HoldOff,
    ];

    /// Whether calls of this kind go to a device.
    #[must_use]
    pub fn is_of_device(self) -> bool {
        !matches!(self, Self::SetRoutes | Self::Attach | Self::Arm | Self::Detach | Self::Signal)
    }
}

/// One entry of one fake device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Entry {
    /// Number of the device, as given to [`FakeDevice::new`].
    pub device: u32,
    /// The store that the entry is in.
    pub store: Store,
    /// The index of the entry in the store.
    pub index: u32,
}

/// One call that the service has made to the fake KVM or to a fake device, whether it failed or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BackendCall {
    /// The routing table was replaced by one with this number of routes.
    SetRoutes(usize),
    /// An irqfd was attached to this GSI.
    Attach(u32),
    /// An irqfd was attached to this GSI ahead of its first route.
    Arm(u32),
    /// The irqfd of this GSI was detached.
    Detach(u32),
    /// This number of entries was started, from this one on.
    Start(Entry, u32),
    /// This number of entries was stopped, from this one on.
    Stop(Entry, u32),
    /// The pair of this entry was read.
    Pair(Entry),
    /// This entry was masked.
    Mask(Entry),
    /// The table of this device was given to the guest.
    Open(u32),
    /// The table of this device was taken back from the guest.
    Close(u32),
    /// This store of this device was prepared for being emulated.
    Trap(u32, Store),
    /// The preparation of this store of this device was undone.
    Untrap(u32, Store),
    /// A message was injected without a GSI.
    Signal(Delivery),
    /// This device was stopped for a snapshot.
    Suspend(u32),
    /// This device goes on after a snapshot.
    Wake(u32),
    /// This device is held off from here on, or no longer.
    HoldOff(u32, bool),
}

impl BackendCall {
    /// The kind of this call.
    #[must_use]
    pub fn kind(self) -> CallKind {
        match self {
            Self::SetRoutes(_) => CallKind::SetRoutes,
            Self::Attach(_) => CallKind::Attach,
            Self::Arm(_) => CallKind::Arm,
            Self::Detach(_) => CallKind::Detach,
            Self::Start(..) => CallKind::Start,
            Self::Stop(..) => CallKind::Stop,
            Self::Pair(_) => CallKind::Pair,
            Self::Mask(_) => CallKind::Mask,
            Self::Open(_) => CallKind::Open,
            Self::Close(_) => CallKind::Close,
            Self::Trap(..) => CallKind::Trap,
            Self::Untrap(..) => CallKind::Untrap,
            Self::Signal(_) => CallKind::Signal,
            Self::Suspend(_) => CallKind::Suspend,
            Self::Wake(_) => CallKind::Wake,
            Self::HoldOff(..) => CallKind::HoldOff,
        }
    }
}
