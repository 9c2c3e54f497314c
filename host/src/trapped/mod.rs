//! Message stores that the VMM emulates by trapping: what a guest has that did not enable pvir.
//!
//! Pure state, for any VMM: registers in, [`DesiredState`] out. [`EmulatedMsix`] is an MSI-X table with its pending bits and its
//! message control, [`EmulatedMsi`] the MSI capability; [`EmulatedStore`] is either. What is wanted of each message is made
//! real elsewhere: the service does it with KVM and the device, and keeps the state under the
//! same lock as ENABLE and DISABLE.
//!
//! ```text
//! guest's access ──exit──► EmulatedStore::write ──► DesiredState: Off | Masked | On(Message) | Void ──► route, irqfd, interrupt
//! ```

mod msi;
mod msix;

pub use msi::EmulatedMsi;
pub use msix::EmulatedMsix;

use crate::device::StoreShape;
use crate::message::{Message, NotDeliverable};
use pvir_abi::Store;

/// What is to become of the interrupts of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DesiredState {
    /// The capability is disabled: there are none.
    Off,
    /// They are held: the pending bit.
    Masked,
    /// They are sent.
    On(Message),
    /// They are sent to where no interrupt comes of them: they are lost, as on hardware.
    Void(NotDeliverable),
}

/// Which messages an access may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangedMessages {
    /// None.
    Nothing,
    /// This one.
    One(u32),
    /// Any.
    All,
}

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreArea {
    /// The MSI-X table; offsets count from its start.
    Table,
    /// The MSI-X pending bit array; offsets count from its start.
    PendingBits,
    /// The MSI or MSI-X capability in config space; offsets count from its id.
    Capability,
}

/// Where each byte of an access at `offset` in a capability is; `None` for what no config space has.
fn places(offset: u64, len: usize) -> impl Iterator<Item = Option<usize>> {
    const CONFIG_SPACE: usize = 0x100;
    let place = move |byte| usize::try_from(offset).ok()?.checked_add(byte).filter(|at| *at < CONFIG_SPACE);
    (0..len).map(place)
}

/// The emulated store of one device.
#[derive(Clone, Debug)]
pub enum EmulatedStore {
    /// MSI-X.
    Msix(EmulatedMsix),
    /// MSI.
    Msi(EmulatedMsi),
}

impl EmulatedStore {
    /// As after a reset of the device; `None` where there is nothing to emulate.
    #[must_use]
    pub fn new(shape: StoreShape) -> Option<Self> {
        match shape {
            StoreShape::None => None,
            StoreShape::Msix(entries) => Some(Self::Msix(EmulatedMsix::new(entries))),
            StoreShape::Msi(shape) => Some(Self::Msi(EmulatedMsi::new(shape))),
        }
    }

    /// Which store it is.
    #[must_use]
    pub fn store(&self) -> Store {
        match self {
            Self::Msix(_) => Store::MSIX,
            Self::Msi(_) => Store::MSI,
        }
    }

    /// Number of messages that the store has now: that of the table, or as many as MSI is enabled for.
    #[must_use]
    pub fn messages(&self) -> u32 {
        match self {
            Self::Msix(table) => table.entries(),
            Self::Msi(capability) => capability.messages(),
        }
    }

    /// Whether the capability is enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        match self {
            Self::Msix(table) => table.is_enabled(),
            Self::Msi(capability) => capability.is_enabled(),
        }
    }

    /// What is to become of a message's interrupts.
    #[must_use]
    pub fn desired_state(&self, index: u32) -> DesiredState {
        match self {
            Self::Msix(table) => table.desired_state(index),
            Self::Msi(capability) => capability.desired_state(index),
        }
    }

    /// Serves a read. `pending` answers whether a message's interrupt is held; it is asked of masked ones only.
    pub fn read(&self, place: StoreArea, offset: u64, data: &mut [u8], pending: impl FnMut(u32) -> bool) {
        match (self, place) {
            (Self::Msix(table), StoreArea::Table) => table.read(offset, data),
            (Self::Msix(table), StoreArea::PendingBits) => table.read_pending(offset, data, pending),
            (Self::Msix(table), StoreArea::Capability) => table.read_control(offset, data),
            (Self::Msi(capability), StoreArea::Capability) => capability.read(offset, data, pending),
            (Self::Msi(_), _) => data.fill(0xff),
        }
    }

    /// Serves a write. Pending bits are read-only.
    pub fn write(&mut self, place: StoreArea, offset: u64, data: &[u8]) -> ChangedMessages {
        match (self, place) {
            (Self::Msix(table), StoreArea::Table) => table.write(offset, data),
            (Self::Msix(table), StoreArea::Capability) => table.write_control(offset, data),
            (Self::Msi(capability), StoreArea::Capability) => capability.write(offset, data),
            (Self::Msix(_), StoreArea::PendingBits) | (Self::Msi(_), _) => ChangedMessages::Nothing,
        }
    }

    /// Whether a register of the capability is the device's own while the guest programs it: the mask and pending bits
    /// of MSI.
    #[must_use]
    pub fn is_of_device(&self, place: StoreArea, offset: u64) -> bool {
        match (self, place) {
            (Self::Msi(capability), StoreArea::Capability) => capability.is_mask_or_pending(offset),
            (_, place) => place != StoreArea::Capability,
        }
    }

    /// What the guest finds after DISABLE: entries masked, addresses and data zero; MSI-X enable and Function Mask as
    /// they were, MSI disabled.
    pub fn clear(&mut self) {
        match self {
            Self::Msix(table) => table.clear(),
            Self::Msi(capability) => *capability = EmulatedMsi::new(capability.shape()),
        }
    }

    /// As after a reset of the device.
    pub fn reset(&mut self) {
        match self {
            Self::Msix(table) => *table = EmulatedMsix::new(table.entries()),
            Self::Msi(_) => self.clear(),
        }
    }
}
