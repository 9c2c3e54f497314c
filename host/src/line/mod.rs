//! The way of an interrupt from a device's eventfd into KVM, brought up, changed and taken down in one place.
//!
//! An IRTE that a guest mapped and a message that the VMM emulates by trapping have the same way: the device signals an
//! eventfd, KVM has the eventfd attached to a GSI, and the GSI has a route. Both are made of [`Line`]s, and of the steps
//! of this folder:
//!
//! ```text
//! up:                 route ──► attach ──► start
//! down:               stop ──► detach ──► unroute
//! down, with retire:  stop ──► unroute ┄┄► detach, later, by whoever calls LineTable::prearm
//! ```
//!
//! One rule holds at every moment: **an irqfd whose device is started has a route**. Where an interrupt met one that had
//! none, kernels have died (CVE-2017-1000252, CVE-2022-49154). A [`Line`] knows what it holds, and refuses the step that
//! would break the rule; what a step could not undo is kept by the [`LineTable`] and tried again.

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
pub use owner::{DeviceSet, LineOwner};
pub(crate) use prearm::Progress;
pub use runs::Request;
pub use state::{Line, Lines};
pub use table::LineTable;
pub use unreleased::Leaving;
