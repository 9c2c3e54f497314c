//! Config space of functions: what a guest sees of it, and what its writes do.

pub(crate) mod filter;
pub(crate) mod space;
