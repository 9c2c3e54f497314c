//! A vCPU: runs the guest, and serves its calls and exits.

use super::{Files, Kind};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::{groups, request};

/// The first request is the one that is compared first, and the one that is made most often.
pub(super) const OWN: &[Call] = calls![
    SYS_ioctl (When::Requests(&[request::KVM_RUN, request::KVM_GET_SREGS])):
        "the guest; who called by port, and who named the console's page",
    SYS_ioctl (When::Requests(&[request::KVM_GET_REGS, request::KVM_TRANSLATE])): "the report of a crash",
];

/// `vcpuN`.
pub(crate) const VCPU: Kind = Kind {
    name: "vcpu",
    calls: &[OWN, groups::EVERY_THREAD, groups::SERVICE, groups::READING_FILES],
    files: Files::ReadSystem,
    refused: &[],
};

/// The same after a restart, or after a save that failed: started by the main thread, which is restricted already and leaves it no files but its own.
pub(crate) const VCPU_AGAIN: Kind = Kind { name: "vcpu, restarted", files: Files::Inherited, ..VCPU };
