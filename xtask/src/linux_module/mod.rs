//! The module for Linux guests (`guest/linux`), and the modules of its tests: built for kernels of Debian, and checked.

mod build;
pub(crate) mod deb;
pub(crate) mod life;
mod steps;

pub(crate) use build::{Built, Missing, build};
pub(crate) use steps::of_source;
