//! After an event: what a kernel does about a device, and how it takes an interrupt again without losing one.

mod advice;
mod reacquire;

pub use advice::Advice;
pub use reacquire::{ReacquireFailed, Reacquired};
