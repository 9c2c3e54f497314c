//! The report of a run, at its end and while it goes on.

pub(crate) mod devices;
pub(crate) mod interrupts;
pub(crate) mod live;
pub(crate) mod routes;
pub(crate) mod summary;
pub(crate) mod tables;
