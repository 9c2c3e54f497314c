//! PCI: one bus of functions behind the ports 0xcf8 and 0xcfc.
//!
//! A device is a [`function::PciFunction`]. The bus owns the registers that decide where a function is (BARs and the
//! decode bits of COMMAND), so that every device moves correctly when a guest moves it; all else is the function's.

pub(crate) mod bars;
pub(crate) mod bus;
pub(crate) mod decoder;
pub(crate) mod function;
pub(crate) mod host_bridge;
pub(crate) mod ports;
pub(crate) mod slot;
