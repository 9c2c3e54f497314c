//! A model of pvir's contract, checked in all its states (`docs/model.md`).
//!
//! [`World`](world::World) is what devices, hosts and guests know at one moment. [`plan`](plan::plan) is the order in
//! which the host does things. [`Machine`](machine::Machine) says which [`Action`](action::Action)s there are in a state, and
//! [`properties`] what must hold in every one. [`Flaw`](design::Flaw) is an error in the design that must be found.

#![forbid(unsafe_code)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of VMs, entries, GSIs and IRTEs, all below eight"
)]

pub mod action;
pub mod area;
pub mod check;
pub mod design;
mod guest;
mod host;
pub mod machine;
pub mod plan;
pub mod properties;
mod remapping;
pub mod world;

#[cfg(test)]
mod tests;
