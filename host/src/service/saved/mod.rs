//! Saving a service and restoring it, in another process or on another host (docs/abi.md, statements S1 to S6).
//!
//! A pair is a resource of the host, so neither pairs nor what is behind them are saved. A restored service holds no
//! IRTE: every handle of before is stale, the guest finds a higher epoch and an event STALE_PAIRS for every device, and
//! maps again. What the host itself held for an entry, an interrupt raised while the entry was parked or while nothing
//! was delivered any more, is saved by the entry's name and delivered when the entry is mapped again ([`Owed`]).

mod format;
mod owed;
mod restore;
mod save;
mod state;
mod suspend;

pub use format::DamagedState;
pub(super) use owed::{Owed, StoreMessage};
pub use restore::RestoreError;
pub use save::{SaveError, SaveOptions};
pub use state::SavedState;
