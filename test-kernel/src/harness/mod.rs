//! What tests and the benchmark have in common: checks that are counted, how they begin and end, and interrupts that are
//! raised and counted.

pub(crate) mod checks;
pub(crate) mod compat;
pub(crate) mod counted_interrupt;
pub(crate) mod former;
pub(crate) mod live_device;
pub(crate) mod live_entries;
pub(crate) mod moves;
pub(crate) mod setup;
pub(crate) mod vectors;
