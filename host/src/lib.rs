#![doc = include_str!("../README.md")]
// Nothing at run time fails, panics or waits because a standard stream is full, closed or not read.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod conduit;
pub mod counters;
pub mod device;
pub mod emulation;
pub mod eventfd;
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
mod work;

// The crates whose types are part of this one's interface, in the versions that it takes.
pub use kvm_bindings;
pub use kvm_ioctls;
pub use pvir_abi;
pub use vfio_ioctls;
pub use vm_memory;
