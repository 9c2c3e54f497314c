//! What serves the clients of `--serial socket=`.

use super::{Files, Kind};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::{groups, request};

const OWN: &[Call] = calls![
    SYS_accept4: "a client",
    SYS_ioctl (When::Requests(&[request::FIONBIO, request::KVM_SIGNAL_MSI])):
        "its socket does not block; the serial port's interrupt",
    SYS_poll: "the client, or one that comes",
    SYS_ppoll: "the same, by other versions of rustix",
    SYS_recvfrom: "what the client types",
    SYS_sendto: "what the guest writes",
];

/// `console`.
pub(crate) const CONSOLE: Kind = Kind {
    name: "console",
    calls: &[OWN, groups::EVERY_THREAD],
    files: Files::Nothing,
    refused: &[groups::NO_FILES],
};
