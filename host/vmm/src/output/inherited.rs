#![expect(unsafe_code, reason = "a descriptor that was inherited is known by its number only")]
//! Descriptors that whoever started the process left open for it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::fcntl_dupfd_cloexec;

/// A copy of descriptor `number`. To be made before the process opens anything itself, which could get the number.
///
/// # Errors
/// If it is not open.
pub(crate) fn claim(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and it is used in this one call only, which fails if no file is open there. Nothing
    // in this process closes it meanwhile: the process has not begun to use descriptors.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(fcntl_dupfd_cloexec(inherited, 3)?)
}
