//! Registers of a PCI function: its BARs, its configuration space, and the capabilities that matter for interrupts.
//!
//! [`function`](crate::function) puts them together to a function that a guest sees.

mod bar_spec;
mod bars;
mod capability;
mod config;
mod hidden;
mod msi_shape;

pub use bar_spec::{BarError, BarKind, BarSpec};
pub(crate) use bars::Bars;
pub(crate) use capability::{ConfigHeader, ENTRY_LEN};
pub use capability::{MsiCapability, MsixCapability};
pub(crate) use config::{
    BUS_MASTER, ConfigSpace, MEMORY_DECODE, MessageCapability, MsiLayout, MsixLayout, PORT_DECODE, SIZE,
    emulated, filter,
};
pub use config::{Identity, MsiRegisters};
pub use hidden::HiddenPart;
pub(crate) use hidden::hidden_parts;
pub use msi_shape::MsiShape;
