//! A fake host and a fake machine, stricter than real ones, for tests of kernels that embed this crate. Needs std.
//!
//! - [`FakeHost`] keeps the contract and panics, naming the statement, when the guest does not. Its answers can be
//!   tampered with, to play any host that does not keep it either.
//! - [`FakeMachine`] is a platform with one device: configuration space, an MSI-X table, MSI.
//! - [`FakeStore`] is a store in RAM that panics when address and data are written unmasked.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a fake that panics is a test that fails"
)]

extern crate std;

mod answer;
mod host;
mod machine;
mod memory;
mod store;
mod validate;

pub use host::{FakeDevice, FakeHost};
pub use machine::FakeMachine;
pub use store::FakeStore;
