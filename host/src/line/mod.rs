//! The lines between devices and KVM: how an interrupt's eventfd, irqfd and route are set up, changed and taken down.
//!
//! A line is the path of one interrupt message. The device signals an eventfd; KVM has this eventfd attached to a GSI
//! as an irqfd; the GSI has a route, and the route is the message that the vCPU gets. An IRTE that a guest has mapped
//! and a message that the VMM emulates by trapping both hold [`Line`]s, and both use the steps of this module:
//!
//! ```text
//! up:                 route ──► attach ──► start
//! down:               stop ──► detach ──► unroute
//! down, with retire:  stop ──► unroute ┄┄► detach, later, on the thread that calls LineTable::prearm
//! ```
//!
//! One rule holds at every moment: **an irqfd whose device is started has a route**. Kernels have crashed where an
//! interrupt arrived at an irqfd without one (CVE-2017-1000252, CVE-2022-49154). A [`Line`] knows what it holds and
//! refuses the step that would break the rule. What a step could not undo is kept by the [`LineTable`] and tried
//! again.

mod down;
mod error;
mod owner;
mod prearm;
mod runs;
mod state;
mod table;
mod unreleased;
mod up;

pub use error::{LineError, Step};
pub use owner::{DeviceSet, EntryLines, LineOwner};
pub(crate) use prearm::Progress;
pub use runs::Request;
pub(crate) use runs::is_used_up;
pub use state::{Line, Lines};
pub use table::LineTable;
