//! PCI: one bus of functions behind the ports 0xcf8 and 0xcfc.
//!
//! The functions are the library's ([`pvir_host::function`]). The bus gives their BARs addresses, and is the address
//! spaces in which these decode.

pub(crate) mod bus;
mod decoder;
pub(crate) mod devfn;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod host_bridge;
pub(crate) mod hotplug;
pub(crate) mod ports;
pub(crate) mod registers;
mod space;
mod windows;
