//! A stream's writer: stdout, stderr, and the file or descriptor of `--json`.

use super::{Files, Kind};
use crate::sandbox::call::{Call, calls};
use crate::sandbox::groups;

const OWN: &[Call] = calls![
    SYS_poll: "a descriptor that does not block",
    SYS_ppoll: "the same, by other versions of rustix",
];

/// `stdout`, `stderr`, `json`.
pub(crate) const OUTPUT: Kind = Kind {
    name: "output",
    calls: &[OWN, groups::EVERY_THREAD],
    files: Files::Nothing,
    refused: &[groups::NO_FILES],
};
