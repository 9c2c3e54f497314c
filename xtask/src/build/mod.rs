//! Builds what the lab and the tests run, and checks the source tree with cargo's own tools.

pub(crate) mod apart;
pub(crate) mod kernel;
pub(crate) mod programs;
pub(crate) mod steps;
pub(crate) mod workspace;

pub(crate) use programs::Programs;
