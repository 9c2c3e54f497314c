//! What leaves at once when a second signal comes. The main thread starts it, whose filter it has too.

use super::{Files, Kind};
use crate::sandbox::call::{Call, calls};
use crate::sandbox::groups;

const OWN: &[Call] = calls![
    SYS_recvfrom: "the pipe of signals",
    SYS_sendto: "the signal handler's end of it",
    SYS_unlink: "the control socket's file",
];

/// `signals`.
pub(crate) const SIGNALS: Kind = Kind {
    name: "signals",
    calls: &[OWN, groups::EVERY_THREAD],
    files: Files::Inherited,
    refused: &[groups::NO_FILES],
};
