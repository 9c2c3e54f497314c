//! Storms: devices that raise more interrupts than the host bears, and are cut off.
//!
//! The guest does not exit for an interrupt, and this process does not run for one. What counts interrupts is the host's
//! kernel, and an emulated device itself ([`HostCounts::sum`](crate::device::HostCounts::sum)). So somebody has to look,
//! many times a second: a [`StormThread`], or the VMM in a timer of its own with a [`StormWatch`]. `meter` judges what is
//! seen.

mod limit;
mod meter;
mod thread;
mod watch;

pub use limit::StormLimit;
pub use meter::Storm;
pub use thread::StormThread;
#[cfg(test)]
pub(super) use watch::Watched;
pub use watch::{CutOffDevice, Looked, StormWatch};
