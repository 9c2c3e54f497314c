//! The threads of emulated devices, and the making of the devices: what their threads are started from.

use super::{Files, Kind};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::groups;

pub(super) const MAKING: &[Call] = calls![
    SYS_memfd_create: "the MSI-X table, which the guest and the device share",
    SYS_ftruncate: "its size",
    SYS_fcntl (When::OneOf(1, &[libc::F_ADD_SEALS.cast_unsigned(), libc::F_GETFD.cast_unsigned()])): "its seals",
];

/// `emulated`, `emulated-rate`.
pub(crate) const DEVICE: Kind = Kind {
    name: "device",
    calls: &[MAKING, groups::EVERY_THREAD, groups::STARTING_THREADS],
    files: Files::Nothing,
    refused: &[groups::NO_FILES, groups::NO_CLONE3],
};

/// The same, of a device that is plugged while the guest runs: started by the main thread, which is restricted already and
/// leaves them no files but its own.
pub(crate) const DEVICE_PLUGGED: Kind = Kind { name: "device, plugged", files: Files::Inherited, ..DEVICE };
