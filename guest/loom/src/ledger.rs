//! The ledger's set, and what is noted in it.

#[path = "../../src/ledger/notes.rs"]
pub(crate) mod notes;
#[path = "../../src/ledger/set.rs"]
pub(crate) mod set;
