#![expect(
    unsafe_code,
    reason = "a signal handler reads what the kernel says of a call, and ends the process"
)]
//! What happens when a thread makes a call that its filter does not allow: the call is not made, a line says which it was,
//! and the process ends.
//!
//! All of this runs in a signal handler: nothing here allocates, takes a lock or returns.

use std::io::{self, Write};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use vmm_sys_util::signal::register_signal_handler;

use super::kinds;
use crate::exit_code;

/// What is done before the process ends; it must be safe in a signal handler.
static BEFORE_THE_END: OnceLock<fn()> = OnceLock::new();

/// Calls that no list has and that a taken-over process would want, so that the message has their names.
const WANTED: &[(libc::c_long, &str)] = &[
    (libc::SYS_execve, "SYS_execve"),
    (libc::SYS_execveat, "SYS_execveat"),
    (libc::SYS_fork, "SYS_fork"),
    (libc::SYS_vfork, "SYS_vfork"),
    (libc::SYS_open, "SYS_open"),
    (libc::SYS_ptrace, "SYS_ptrace"),
    (libc::SYS_bpf, "SYS_bpf"),
    (libc::SYS_io_uring_setup, "SYS_io_uring_setup"),
    (libc::SYS_process_vm_writev, "SYS_process_vm_writev"),
    (libc::SYS_mount, "SYS_mount"),
    (libc::SYS_unshare, "SYS_unshare"),
    (libc::SYS_setns, "SYS_setns"),
    (libc::SYS_setuid, "SYS_setuid"),
    (libc::SYS_bind, "SYS_bind"),
];

/// Installs the handler, once for the process. `before_the_end` is called in it, and must be safe there.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn install_handler(before_the_end: fn()) -> Result<()> {
    BEFORE_THE_END.get_or_init(|| before_the_end);
    register_signal_handler(libc::SIGSYS, on_violation).context("cannot install the handler of SIGSYS")
}

/// The start of `siginfo_t` as the kernel fills it for SIGSYS (include/uapi/asm-generic/siginfo.h, `_sigsys`), on 64 bits.
#[repr(C)]
struct SigsysInfo {
    /// `si_signo`, `si_errno`, `si_code`, padding.
    head: [i32; 4],
    call_address: u64,
    number: i32,
    arch: u32,
}

/// `si_code` of a SIGSYS by seccomp (`SYS_SECCOMP`).
const BY_SECCOMP: i32 = 1;

extern "C" fn on_violation(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a SA_SIGINFO handler a siginfo_t of 128 bytes, of which this is the start, aligned to 8.
    let info = unsafe { &*info.cast::<SigsysInfo>() };
    if info.head[2] == BY_SECCOMP {
        // SAFETY: the third argument of a SA_SIGINFO handler is the ucontext_t of what was interrupted.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let register = |at: libc::c_int| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            context.uc_mcontext.gregs.get(at).copied().unwrap_or(0).cast_unsigned()
        };
        tell(info.number.into(), [register(libc::REG_RDI), register(libc::REG_RSI)]);
    } else {
        put(b"pvir: ended by SIGSYS, which somebody sent\n");
    }
    if let Some(before_the_end) = BEFORE_THE_END.get() {
        before_the_end();
    }
    // SAFETY: it has no precondition, is safe in a signal handler, and does not return.
    unsafe { libc::_exit(exit_code::SANDBOX.into()) }
}

/// One write to stderr: `pvir: the sandbox stopped vcpu0: system call 59 (execve) ...`.
fn tell(number: libc::c_long, arguments: [u64; 2]) {
    let mut buffer = [0; 400];
    let mut text = io::Cursor::new(&mut buffer[..]);
    let thread = thread_name();
    let thread = thread.split(|byte| *byte == 0).next().unwrap_or_default();
    // Formatting of numbers and text does not allocate. What does not fit is cut off.
    let _ = text.write_all(b"pvir: the sandbox stopped thread ");
    let _ = text.write_all(thread);
    let _ = write!(text, ": system call {number}");
    if let Some(name) = name(number) {
        let _ = write!(text, " ({name})");
    }
    let [first, second] = arguments;
    let _ = write!(text, " with arguments {first:#x}, {second:#x}");
    let _ = text.write_all(
        b"\nhelp: it is a defect of pvir, or the guest has taken it over; `--sandbox log` has the kernel log such calls\n",
    );
    let length = usize::try_from(text.position()).unwrap_or(0);
    put(&buffer[..length]);
}

/// To stderr, past every lock. That it cannot be written is nothing that could be told.
fn put(text: &[u8]) {
    let _ = rustix::io::write(io::stderr(), text);
}

/// The name of the calling thread, ended by a zero byte.
fn thread_name() -> [u8; 16] {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes 16 bytes at most to the address, where there are so many.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// The name of a call, where it is known.
fn name(number: libc::c_long) -> Option<&'static str> {
    let listed = kinds::ALL.iter().flat_map(|kind| kind.calls.iter().copied().flatten());
    let mut all = listed.map(|call| (call.number, call.name)).chain(WANTED.iter().copied());
    all.find(|(known, _)| *known == number)?.1.strip_prefix("SYS_")
}
