//! Files of VFIO that somebody else has opened: a process that may open none any more can still have devices.

mod calls;
mod container;
mod group;

pub(super) use container::GivenContainer;
pub(super) use group::{GivenGroup, GroupDomain};
