//! A KVM and devices for tests, stricter than the real ones.
//!
//! The real KVM takes nearly anything in any order, and a mistake in that order shows late or never. [`FakeKvm`] and
//! [`FakeDevice`] share one [`FakePlatform`], which knows the safe order of routes, irqfds and interrupts, notes every call
//! and every breach of that order, and fails whichever call a test wants to see failing.
//!
//! A test makes a [`SharedPlatform`], builds the service over it, announces with [`FakePlatform::expect`] which operation comes,
//! calls, and reads [`FakePlatform::violations`], which end in an assertion: see [`FakePlatform::check`].

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

/// A kind of call of the service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// `KVM_SET_GSI_ROUTING`.
    SetRoutes,
    /// `KVM_IRQFD`, assign.
    Attach,
    /// `KVM_IRQFD`, assign, ahead of any entry that wants it.
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
}

impl CallKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
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
    ];

    /// Whether the call goes to a device.
    #[must_use]
    pub fn is_of_device(self) -> bool {
        !matches!(self, Self::SetRoutes | Self::Attach | Self::Arm | Self::Detach)
    }
}

/// One entry of one fake device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Entry {
    /// Number of the device, as given to [`FakeDevice::new`].
    pub device: u32,
    /// Store.
    pub store: Store,
    /// Index.
    pub index: u32,
}

/// One call of the service, as it was made; failed ones too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendCall {
    /// The whole table was replaced by one of this many routes.
    SetRoutes(usize),
    /// An irqfd for this GSI.
    Attach(u32),
    /// An irqfd for this GSI, ahead of its first route.
    Arm(u32),
    /// No irqfd for this GSI any more.
    Detach(u32),
    /// So many entries from the first on.
    Start(Entry, u32),
    /// So many entries from the first on.
    Stop(Entry, u32),
    /// The pair of an entry.
    Pair(Entry),
    /// The mask of an entry.
    Mask(Entry),
    /// A device's table to the guest.
    Open(u32),
    /// A device's table back.
    Close(u32),
    /// A device's store is prepared for being emulated.
    Trap(u32, Store),
    /// And is so no more.
    Untrap(u32, Store),
}

impl BackendCall {
    /// Its kind.
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
        }
    }
}
