//! What a PCI function says of itself in config space, as far as it matters for interrupts.

mod capability;
mod msi_shape;

pub(crate) use capability::{ConfigHeader, ENTRY_LEN};
pub use capability::{MsiCapability, MsixCapability};
pub use msi_shape::MsiShape;
