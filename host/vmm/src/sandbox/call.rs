//! A system call that a kind of thread may make.

use super::request::Request;

/// One call of a list. Why it is there stands beside it in the list: [`calls!`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: libc::c_long,
    /// As libc names the number: `SYS_read`.
    pub(super) name: &'static str,
    pub(super) when: When,
}

/// With which arguments. Arguments count from 0; the low 32 bits of one are looked at, which is all of an `int`.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Always,
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// No such bit is set in the argument.
    Without(u8, u32),
    /// All these bits are set in the argument.
    With(u8, u32),
    /// The argument is this process's id, or 0 (its process group).
    OwnProcess(u8),
    /// An `ioctl` with one of these requests.
    Requests(&'static [Request]),
    /// The same, of the descriptor with this number.
    RequestsOf(u32, &'static [Request]),
}

/// A call that is not made and answered with an errno: libc knows what to do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) number: libc::c_long,
    pub(super) errno: libc::c_int,
}

/// A list of calls: `SYS_name (condition): "why",`.
macro_rules! calls {
    (@when) => { $crate::sandbox::call::When::Always };
    (@when $when:expr) => { $when };
    ($($name:ident $(($when:expr))? : $why:literal),* $(,)?) => {
        &[$($crate::sandbox::call::Call {
            number: libc::$name,
            name: stringify!($name),
            when: $crate::sandbox::call::calls!(@when $($when)?),
        }),*]
    };
}
pub(super) use calls;
