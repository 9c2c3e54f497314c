#![doc = include_str!("../README.md")]

pub mod conduit;
pub mod counters;
pub mod device;
pub mod emulation;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod function;
pub mod irte;
pub mod isolation;
pub mod kvm;
pub mod line;
mod log_limit;
pub mod mapping;
pub mod memory;
pub mod message;
pub mod pci;
pub mod service;
pub mod trapped;
pub mod vfio;
