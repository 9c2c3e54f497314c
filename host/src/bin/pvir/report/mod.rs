//! What a run tells at its end.

pub(crate) mod exits;
pub(crate) mod interrupts;
pub(crate) mod summary;
pub(crate) mod tables;
