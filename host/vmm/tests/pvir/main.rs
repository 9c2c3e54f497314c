//! The binary `pvir`, run on the machine's own KVM.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod emulated;
mod ending;
mod event;
mod guest;
mod machine;
mod pci;
mod platform;
mod plug;
mod restart;
mod routes;
mod sandbox;
mod save;
mod serial;
mod streams;
mod terminal;
