//! The module for Linux guests (`guest/linux`), and the modules of its tests: built for kernels of Debian, and checked.

mod build;
mod steps;

pub(crate) use steps::of_source;
