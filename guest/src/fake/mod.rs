//! A fake host and a fake machine, for tests of kernels that embed this crate. They are stricter than real ones, and
//! need `std`.
//!
//! - [`FakeHost`] keeps the contract, and panics with the number of the statement when the guest does not. Its answers
//!   can be tampered with, so that it stands for any host that breaks the contract.
//! - [`FakeMachine`] is a platform with one device: configuration space with MSI and MSI-X, and an MSI-X table.
//! - [`FakeStore`] is an entry in RAM that panics when address or data are written while it is not masked.
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
