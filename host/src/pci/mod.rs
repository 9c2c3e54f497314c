//! The capabilities of a PCI function that matter for interrupts, read from its configuration space.

mod capability;
mod msi_shape;

pub(crate) use capability::{ConfigHeader, ENTRY_LEN};
pub use capability::{MsiCapability, MsixCapability};
pub use msi_shape::MsiShape;
