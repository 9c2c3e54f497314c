//! The library's thread that arms irqfds ahead and takes them off.

use super::{Files, Kind};
use crate::sandbox::groups;

/// `pvir-prearm`.
pub(crate) const PREARM: Kind = Kind {
    name: "prearm",
    calls: &[groups::EVERY_THREAD, groups::SERVICE, groups::STARTING_THREADS],
    files: Files::Nothing,
    refused: &[groups::NO_FILES, groups::NO_CLONE3],
};
