//! Configuration space of a function: what a guest sees of it, and what its writes do.

mod emulated;
mod filter;
mod held;
mod identity;
mod reset;
mod space;

pub use emulated::MsiRegisters;
pub(crate) use emulated::{MessageCapability, MsiLayout, MsixLayout, emulated};
pub(crate) use filter::filter;
pub(super) use held::{HeldCapability, held_capabilities};
pub use identity::Identity;
pub(crate) use space::{BUS_MASTER, ConfigSpace, MEMORY_DECODE, PORT_DECODE, SIZE};
