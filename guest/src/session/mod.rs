//! The two states of a session: [`Pvir`] before ENABLE and after DISABLE, [`Remapping`] in between.

mod enable;
mod options;
mod pvir;
mod remapping;

pub use options::{EnableOptions, Notify};
pub use pvir::{EnableFailed, Pvir};
pub use remapping::{DisableFailed, Disabled, Remapping};
