#![expect(unsafe_code, reason = "limits of the process have no safe interface in the standard library")]
//! The limit on open descriptors: each interrupt of a guest takes one, of an emulated device two.

use std::io;

/// Raises it as far as this user may. What a guest cannot have for want of descriptors it is refused.
pub(crate) fn raise_limit() {
    if let Err(error) = try_raise() {
        tracing::debug!("the limit on open files stays as it is: {error}");
    }
}

fn try_raise() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes to the structure given, which lives across the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it reads the structure given.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
