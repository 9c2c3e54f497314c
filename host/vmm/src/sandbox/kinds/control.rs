//! What serves the control socket.

use super::{Files, Kind};
use crate::sandbox::call::{Call, calls};
use crate::sandbox::groups;

const OWN: &[Call] = calls![
    SYS_accept4: "a client",
    SYS_getsockopt: "who it is",
    SYS_setsockopt: "the deadline of a conversation",
    SYS_recvmsg: "a request, with which a file may come",
    SYS_sendto: "an answer, in versions of std that send",
];

/// `control`.
pub(crate) const CONTROL: Kind = Kind {
    name: "control",
    // An event releases entries, as DISABLE does.
    calls: &[OWN, groups::EVERY_THREAD, groups::SERVICE, groups::READING_FILES],
    files: Files::ReadSystem,
    refused: &[],
};
