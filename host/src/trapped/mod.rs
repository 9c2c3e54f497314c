//! Emulated MSI and MSI-X registers, for the time in which a guest has not enabled pvir.
//!
//! The guest's accesses to these registers exit to the VMM. This module is pure state and fits any VMM: accesses in,
//! [`DesiredState`] out. [`EmulatedMsix`] is an MSI-X table with its pending bits and its message control,
//! [`EmulatedMsi`] an MSI capability, and [`EmulatedStore`] is either of them. The [`service`](crate::service) brings
//! the device and KVM into the desired state. It keeps the registers under the lock that also orders ENABLE and
//! DISABLE.
//!
//! ```text
//! guest's access ──exit──► EmulatedStore::write ──► DesiredState: Off | Masked | On(Message) | Void ──► route, irqfd, interrupt
//! ```

mod msi;
mod msix;
mod saved;

pub use msi::EmulatedMsi;
pub use msix::EmulatedMsix;
pub use saved::EmulatedRegisters;

use crate::device::StoreShape;
use crate::message::{Message, NotDeliverable};
use pvir_abi::Store;

/// The state that the registers ask for, of the interrupts of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DesiredState {
    /// The capability is disabled: the device sends none.
    Off,
    /// The message is masked: an interrupt sets its pending bit.
    Masked,
    /// The message is enabled and unmasked: an interrupt sends it.
    On(Message),
    /// The message is enabled and unmasked, but raises no interrupt for this reason: interrupts are lost, as on
    /// hardware.
    Void(NotDeliverable),
}

/// The messages whose desired state an access may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangedMessages {
    /// No message.
    Nothing,
    /// The message of this number.
    One(u32),
    /// Any of the messages.
    All,
}

/// The area of a device that an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreArea {
    /// The MSI-X table. Offsets count from its start, in bytes.
    Table,
    /// The MSI-X pending bit array. Offsets count from its start, in bytes.
    PendingBits,
    /// The MSI or MSI-X capability in configuration space. Offsets count from its id, in bytes.
    Capability,
}

/// The offset in the capability of each byte of an access at `offset`; `None` beyond configuration space.
fn places(offset: u64, len: usize) -> impl Iterator<Item = Option<usize>> {
    const CONFIG_SPACE: usize = 0x100;
    let place = move |byte| usize::try_from(offset).ok()?.checked_add(byte).filter(|at| *at < CONFIG_SPACE);
    (0..len).map(place)
}

/// The emulated store of one device.
#[derive(Clone, Debug)]
pub enum EmulatedStore {
    /// An MSI-X table with message control.
    Msix(EmulatedMsix),
    /// An MSI capability.
    Msi(EmulatedMsi),
}

impl EmulatedStore {
    /// The registers after a reset of the device; `None` if the device has nothing to emulate.
    #[must_use]
    pub fn new(shape: StoreShape) -> Option<Self> {
        match shape {
            StoreShape::None => None,
            StoreShape::Msix(entries) => Some(Self::Msix(EmulatedMsix::new(entries))),
            StoreShape::Msi(shape) => Some(Self::Msi(EmulatedMsi::new(shape))),
        }
    }

    /// The kind of the store.
    #[must_use]
    pub fn store(&self) -> Store {
        match self {
            Self::Msix(_) => Store::MSIX,
            Self::Msi(_) => Store::MSI,
        }
    }

    /// Number of messages: the entries of the table, or the messages that MSI is enabled for.
    #[must_use]
    pub fn messages(&self) -> u32 {
        match self {
            Self::Msix(table) => table.entries(),
            Self::Msi(capability) => capability.messages(),
        }
    }

    /// Whether the capability's enable bit is set.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        match self {
            Self::Msix(table) => table.is_enabled(),
            Self::Msi(capability) => capability.is_enabled(),
        }
    }

    /// The state that the registers ask for, of message `index`.
    #[must_use]
    pub fn desired_state(&self, index: u32) -> DesiredState {
        match self {
            Self::Msix(table) => table.desired_state(index),
            Self::Msi(capability) => capability.desired_state(index),
        }
    }

    /// Serves a read of `data.len()` bytes. `pending` answers whether the interrupt of a message is pending; it is
    /// called for masked messages only.
    pub fn read(&self, place: StoreArea, offset: u64, data: &mut [u8], pending: impl FnMut(u32) -> bool) {
        match (self, place) {
            (Self::Msix(table), StoreArea::Table) => table.read(offset, data),
            (Self::Msix(table), StoreArea::PendingBits) => table.read_pending(offset, data, pending),
            (Self::Msix(table), StoreArea::Capability) => table.read_control(offset, data),
            (Self::Msi(capability), StoreArea::Capability) => capability.read(offset, data, pending),
            (Self::Msi(_), _) => data.fill(0xff),
        }
    }

    /// Serves a write of `data`, and gives the messages that it may have changed. Pending bits are read-only.
    pub fn write(&mut self, place: StoreArea, offset: u64, data: &[u8]) -> ChangedMessages {
        match (self, place) {
            (Self::Msix(table), StoreArea::Table) => table.write(offset, data),
            (Self::Msix(table), StoreArea::Capability) => table.write_control(offset, data),
            (Self::Msi(capability), StoreArea::Capability) => capability.write(offset, data),
            (Self::Msix(_), StoreArea::PendingBits) | (Self::Msi(_), _) => ChangedMessages::Nothing,
        }
    }

    /// Whether a register of the capability stays the device's own while the guest programs the device: the mask and
    /// pending bits of MSI.
    #[must_use]
    pub fn is_of_device(&self, place: StoreArea, offset: u64) -> bool {
        match (self, place) {
            (Self::Msi(capability), StoreArea::Capability) => capability.is_mask_or_pending(offset),
            (_, place) => place != StoreArea::Capability,
        }
    }

    /// Clears the registers as the contract wants it after DISABLE: every entry is masked, its address and data are
    /// zero, and MSI is disabled. The MSI-X enable bit and Function Mask keep their values.
    pub fn clear(&mut self) {
        match self {
            Self::Msix(table) => table.clear(),
            Self::Msi(capability) => *capability = EmulatedMsi::new(capability.shape()),
        }
    }

    /// Sets the registers to their state after a reset of the device.
    pub fn reset(&mut self) {
        match self {
            Self::Msix(table) => *table = EmulatedMsix::new(table.entries()),
            Self::Msi(_) => self.clear(),
        }
    }
}
