//! IMS (Interrupt Message Store): messages at a place of the device's own making (statements M8 and M11).
//!
//! [`ImsMemory`] is such a place in memory: an array of slots, in the guest's RAM or in the device. For any other, a
//! driver implements [`StoreEntry`](crate::StoreEntry), whose page has an example.

mod layout;
mod memory;
mod slot;

pub use layout::{ImsControl, ImsLayout};
pub use memory::ImsMemory;
pub use slot::ImsSlot;
