//! The threads of emulated devices, and the making of the devices: what their threads are started from.

use super::{Files, Kind};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::groups;

const MAKING: &[Call] = calls![
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
