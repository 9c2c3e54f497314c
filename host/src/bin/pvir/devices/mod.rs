//! Devices of the machine itself.

pub(crate) mod scratch;
pub(crate) mod serial;
pub(crate) mod terminal;
