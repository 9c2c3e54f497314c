//! A KVM and devices for tests, stricter than the real ones.
//!
//! The real KVM takes nearly anything in any order, and what goes wrong shows late or never. [`FakeKvm`] and
//! [`FakeDevice`] share one [`World`], which knows the safe order of routes, irqfds and interrupts, notes every call
//! and every breach of that order, and fails whichever call a test wants to see failing.
//!
//! A test makes a [`SharedWorld`], builds the service over it, announces with [`World::expect`] which operation comes,
//! calls, and reads [`World::violations`], which end in an assertion: see [`World::check`].

mod counts;
mod device;
mod faults;
mod identity;
mod kvm;
mod order;
mod world;

pub use device::FakeDevice;
pub use faults::Faults;
pub use kvm::FakeKvm;
pub use world::{Delivery, Footprint, SharedWorld, World};

use pvir_abi::Store;

/// A kind of call of the service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
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

impl Kind {
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
pub enum Call {
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

impl Call {
    /// Its kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::SetRoutes(_) => Kind::SetRoutes,
            Self::Attach(_) => Kind::Attach,
            Self::Arm(_) => Kind::Arm,
            Self::Detach(_) => Kind::Detach,
            Self::Start(..) => Kind::Start,
            Self::Stop(..) => Kind::Stop,
            Self::Pair(_) => Kind::Pair,
            Self::Mask(_) => Kind::Mask,
            Self::Open(_) => Kind::Open,
            Self::Close(_) => Kind::Close,
            Self::Trap(..) => Kind::Trap,
            Self::Untrap(..) => Kind::Untrap,
        }
    }
}
