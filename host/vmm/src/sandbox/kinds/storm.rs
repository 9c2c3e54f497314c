//! The library's thread that looks for interrupt storms.

use super::{Files, Kind};
use crate::sandbox::groups;

/// `pvir-storm`.
pub(crate) const STORM: Kind = Kind {
    name: "storm",
    // It reads what the kernel has counted, and cuts off as an event does.
    calls: &[groups::EVERY_THREAD, groups::SERVICE, groups::READING_FILES, groups::STARTING_THREADS],
    files: Files::ReadSystem,
    refused: &[groups::NO_CLONE3],
};
