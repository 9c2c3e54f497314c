//! An interrupt as the guest knows it: where it comes from, where it goes, and the token that owns its IRTE.

use core::fmt;
use pvir_abi::{
    Arch, DeliveryMode, DestinationMode, DeviceId, EntryFlags, EntryState, Handle, Pair, Routing, Store,
    X86Route,
};

/// The entry of a device's store from which an interrupt comes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// The device.
    pub device: DeviceId,
    /// The kind of the store.
    pub store: Store,
    /// Index of the entry in the store.
    pub index: u32,
    /// Number of consecutive messages: 1, or for multi-message MSI a power of two up to 32.
    pub count: u32,
}

impl Origin {
    /// Entry `index` of the MSI-X table of `device`.
    #[must_use]
    pub const fn msix(device: DeviceId, index: u32) -> Self {
        Self { device, store: Store::MSIX, index, count: 1 }
    }

    /// The MSI capability of `device`, with `count` messages.
    #[must_use]
    pub const fn msi(device: DeviceId, count: u32) -> Self {
        Self { device, store: Store::MSI, index: 0, count }
    }

    /// IMS entry `index` of `device`.
    #[must_use]
    pub const fn ims(device: DeviceId, index: u32) -> Self {
        Self { device, store: Store::IMS, index, count: 1 }
    }

    /// The record that names this entry and nothing else.
    pub(crate) fn record(self) -> pvir_abi::EntryRecord {
        pvir_abi::EntryRecord {
            count: self.count,
            ..pvir_abi::EntryRecord::query(self.device, self.store, self.index)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} entry {} of device {}", self.store, self.index, self.device)
    }
}

/// Where an interrupt goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Target {
    /// Nowhere: the host holds what the device raises, and delivers it at the first RETARGET to an APIC (statement
    /// M6).
    Parked,
    /// To a local APIC, or to one of a set of them.
    Apic(X86Route),
}

impl Target {
    /// Fixed delivery of `vector`, 32 to 255, to the vCPU with APIC id `apic_id`.
    #[must_use]
    pub const fn fixed(apic_id: u32, vector: u8) -> Self {
        Self::Apic(X86Route::fixed(apic_id, vector))
    }

    /// The record with this target filled in.
    pub(crate) fn put(self, record: pvir_abi::EntryRecord) -> pvir_abi::EntryRecord {
        match self {
            Self::Parked => pvir_abi::EntryRecord { flags: EntryFlags::PARKED.bits(), ..record },
            Self::Apic(route) => {
                pvir_abi::EntryRecord { arch: Arch::X86_APIC, routing: route.into(), ..record }
            }
        }
    }

    /// The state bits that an answer must have for this target.
    pub(crate) const fn state(self) -> EntryState {
        match self {
            Self::Parked => EntryState::PARKED,
            Self::Apic(_) => EntryState::empty(),
        }
    }

    /// The target in the fields of an answer. `None` if they are malformed.
    pub(crate) fn from_wire(arch: Arch, routing: Routing, state: EntryState) -> Option<Self> {
        if state.contains(EntryState::PARKED) {
            return (arch == Arch(0) && routing == Routing::default()).then_some(Self::Parked);
        }
        let route = X86Route::fixed(routing.destination, routing.vector)
            .with_delivery_mode(DeliveryMode(routing.delivery_mode))
            .with_destination_mode(DestinationMode(routing.destination_mode))
            .with_hint(routing.hint & 1 != 0);
        let served = [DeliveryMode::FIXED, DeliveryMode::LOWEST_PRIORITY].contains(&route.delivery_mode)
            && [DestinationMode::PHYSICAL, DestinationMode::LOGICAL].contains(&route.destination_mode)
            && route.vector >= pvir_abi::FIRST_DEVICE_VECTOR;
        // Back again, so that no bit that we do not know is dropped.
        let whole = Routing::from(route) == routing;
        (arch == Arch::X86_APIC && served && whole).then_some(Self::Apic(route))
    }
}

/// One interrupt remapping table entry (IRTE) of the host, owned: this token exists once, from MAP to UNMAP.
///
/// If it is dropped, the IRTE stays allocated on the host until DISABLE, and nobody can give it back.
#[must_use = "an IRTE that is dropped stays allocated on the host: give it back with unmap"]
#[derive(PartialEq, Eq, Debug)]
pub struct Irte {
    pub(crate) origin: Origin,
    pub(crate) handle: Handle,
    pub(crate) pair: Pair,
    pub(crate) target: Target,
    pub(crate) epoch: u64,
    pub(crate) existing: bool,
}

impl Irte {
    /// The entry that the IRTE was mapped for.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The handle by which the host knows the IRTE.
    #[must_use]
    pub const fn handle(&self) -> Handle {
        self.handle
    }

    /// The message that the device is to send. It is constant until UNMAP or the end of the epoch (statement M2).
    #[must_use]
    pub const fn pair(&self) -> Pair {
        self.pair
    }

    /// Where the interrupt goes, by the last MAP or RETARGET.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// The VM's epoch when the IRTE was mapped, or when [`Remapping::advise`](crate::Remapping::advise) last found it
    /// alive.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the host had the IRTE before: the same entry was mapped with the same target and not unmapped
    /// (statement M5). The mask of the entry was then left as it was.
    #[must_use]
    pub const fn is_existing(&self) -> bool {
        self.existing
    }
}

/// What holds an [`Irte`]: the token itself, an entry that was programmed with it, or `&mut` of these. The trait is
/// sealed.
pub trait HoldsIrte: sealed::Sealed {}

impl<T: sealed::Sealed> HoldsIrte for T {}

pub(crate) mod sealed {
    use super::Irte;

    /// Access that must not leave the crate: whoever can swap the IRTEs of two live entries can unmap a live one.
    pub trait Sealed {
        fn irte(&self) -> &Irte;
        fn irte_mut(&mut self) -> &mut Irte;
    }

    impl Sealed for Irte {
        fn irte(&self) -> &Irte {
            self
        }

        fn irte_mut(&mut self) -> &mut Irte {
            self
        }
    }

    impl<T: Sealed> Sealed for &mut T {
        fn irte(&self) -> &Irte {
            (**self).irte()
        }

        fn irte_mut(&mut self) -> &mut Irte {
            (**self).irte_mut()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_of_the_processors_own_is_no_target() {
        let target = |vector| {
            let routing = Routing::from(X86Route::fixed(1, vector));
            Target::from_wire(Arch::X86_APIC, routing, EntryState::empty())
        };
        for vector in 0..pvir_abi::FIRST_DEVICE_VECTOR {
            assert_eq!(target(vector), None, "{vector}");
        }
        for vector in pvir_abi::FIRST_DEVICE_VECTOR..=255 {
            assert_eq!(target(vector), Some(Target::fixed(1, vector)));
        }
    }
}
