//! The guest's driver against the host's service, both real, in one process.
//!
//! `pvir-guest` calls over a conduit that ends in [`Service::call`](pvir_host::service::Service::call). Between the two
//! lie the same guest RAM and the same MSI-X table, and under the service the fake KVM and the fake devices, which know
//! the safe order of routes, irqfds and interrupts: after every call none of their rules may be broken. A message that a
//! device sends is looked up as a remapping unit does, by its pair, and arrives as the fake KVM injects it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod attach;
mod batches;
mod enabling;
mod events;
mod ims_region;
mod kernel;
mod life;
mod model;
mod random;
mod shared_table;
mod steps;
mod stores;
mod test_vm;
