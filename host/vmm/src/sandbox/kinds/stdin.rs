//! What reads stdin for the guest's serial port.

use super::{Files, Kind};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::{groups, request};

const OWN: &[Call] = calls![
    SYS_ioctl (When::Requests(&[request::KVM_SIGNAL_MSI])): "the serial port's interrupt",
    SYS_kill (When::OwnProcess(0)): "keys that send a signal to the process group, as a terminal does",
];

/// `stdin`.
pub(crate) const STDIN: Kind = Kind {
    name: "stdin",
    calls: &[OWN, groups::EVERY_THREAD],
    files: Files::Nothing,
    refused: &[groups::NO_FILES],
};
