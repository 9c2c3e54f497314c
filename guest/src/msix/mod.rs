//! MSI-X: the table in the device's memory, with an owner for each entry
//! (PCI Express Base Specification 6.0, section 7.7.2 "MSI-X Capability and Table Structure").

mod mapping;
mod memory;
mod share;
mod slot;
mod table;

pub use slot::MsixEntry;
pub use table::MsixTable;
