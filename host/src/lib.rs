//! The host side of paravirtual interrupt remapping, as a library without any VMM in it.

pub mod counters;
