//! Calls that several kinds of threads need, by purpose.

use libc::{F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL};

use super::call::{Call, Refusal, When, calls};
use super::request;

/// libc's flags are `int`.
const fn bits(flags: libc::c_int) -> u32 {
    flags.cast_unsigned()
}

/// What any thread needs that allocates, locks, waits and ends, with glibc 2.36 (Debian 12) and 2.41 (Debian 13), and what
/// the end after a violation needs.
pub(super) const EVERY_THREAD: &[Call] = calls![
    SYS_futex: "locks, condition variables, park and join",
    SYS_write: "eventfds, streams, and the message of a violation",
    SYS_read: "eventfds and files that are open",
    SYS_close: "eventfds and files",
    SYS_fcntl (When::OneOf(1, &[bits(F_GETFD)])): "std looks whether what it closes is open, where it is built to look",
    SYS_brk: "malloc",
    SYS_mmap (When::Without(2, bits(libc::PROT_EXEC))): "malloc and its arenas, stacks, tables, BARs; never code",
    SYS_munmap: "the same",
    SYS_mremap: "realloc of large blocks",
    SYS_mprotect (When::Without(2, bits(libc::PROT_EXEC))): "malloc's arenas, guard pages; never code",
    SYS_madvise: "malloc, and the stack of a thread that ends",
    SYS_getrandom: "the keys of hash maps, and malloc's",
    SYS_sched_yield: "std's locks",
    SYS_sched_getaffinity: "malloc counts CPUs for its arenas; pthread_getattr_np",
    SYS_clock_gettime: "the clock, where the vDSO cannot tell it",
    SYS_clock_nanosleep: "sleeping",
    SYS_nanosleep: "sleeping, in older versions of glibc",
    SYS_restart_syscall: "the kernel's, after the process was stopped (Ctrl-Z) in a wait",
    SYS_rt_sigreturn: "the end of a signal handler",
    SYS_rt_sigprocmask: "pthread_kill and the end of a thread; threads that leave signals to others",
    SYS_sigaltstack: "std takes down its stack for overflows",
    SYS_rt_sigaction (When::OneOf(0, &[bits(libc::SIGSEGV), bits(libc::SIGBUS), bits(libc::SIGABRT)])):
        "std's handler of overflows, and abort: they take the default back",
    SYS_getpid: "pthread_kill, abort",
    SYS_gettid: "the same",
    SYS_tgkill (When::OwnProcess(0)): "the kick of a vCPU, and abort",
    SYS_prctl (When::OneOf(0, &[bits(libc::PR_GET_NAME)])): "the message of a violation has the thread's name",
    SYS_ioctl (When::RequestsOf(0, TERMINAL)): "the terminal is put back after a violation too",
    SYS_getpgrp: "the same: not from the background",
    SYS_exit: "the end of a thread",
    SYS_exit_group: "the end of the process",
];

const TERMINAL: &[request::Request] =
    &[request::TCGETS, request::TCGETS2, request::TCSETS, request::TCSETS2, request::TIOCGPGRP];

/// The heap of a thread that gives memory back looks into `/proc/sys/vm/overcommit_memory` (`check_may_shrink_heap` in
/// sysdeps/unix/sysv/linux/malloc-sysdep.h, glibc 2.36 to 2.41), and keeps the memory where it cannot. This is for threads
/// that read no files: EACCES says nothing of what is there.
pub(super) const NO_FILES: Refusal = Refusal { number: libc::SYS_openat, errno: libc::EACCES };

/// `clone3` has its flags in memory, where a filter cannot see them. glibc takes `clone` then.
pub(super) const NO_CLONE3: Refusal = Refusal { number: libc::SYS_clone3, errno: libc::ENOSYS };

/// Starting threads, with [`NO_CLONE3`].
pub(super) const STARTING_THREADS: &[Call] = calls![
    SYS_clone (When::With(0, bits(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND))): "a thread, and no process",
    SYS_rseq: "glibc, in a thread that starts",
    SYS_set_robust_list: "the same",
    SYS_prctl (When::OneOf(0, &[bits(libc::PR_SET_NAME), bits(libc::PR_SET_NO_NEW_PRIVS)])):
        "the name of a thread; its own filter",
    SYS_seccomp: "a thread takes a filter of its own, which can only take away",
];

/// Reading of files: what ENABLE judges isolation by, interrupt counts, what the kernel shows of IRTEs, a backtrace.
pub(super) const READING_FILES: &[Call] = calls![
    SYS_openat (When::Without(2, bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC))): "to be read only",
    SYS_statx: "whether a file is there, and its size",
    SYS_newfstatat: "the same, by glibc",
    SYS_fstat: "the same",
    SYS_lseek: "std asks how much is left to be read",
    SYS_pread64: "configuration space",
    SYS_getdents64: "the members of a group, the functions of a bus",
    SYS_readlink: "drivers, groups and places of devices",
    SYS_readlinkat: "the same",
    SYS_fcntl (When::OneOf(1, &[bits(F_GETFD), bits(F_SETFD), bits(F_GETFL)])): "opendir",
    SYS_getcwd: "backtraces of panics",
];

/// What the library calls for a guest's interrupts: MAP, RETARGET, UNMAP, DISABLE, trapped tables, BARs that move, and the
/// end of a VM.
pub(super) const SERVICE: &[Call] = calls![
    SYS_ioctl (When::Requests(&[
        request::KVM_IRQFD,
        request::KVM_SET_GSI_ROUTING,
        request::VFIO_DEVICE_SET_IRQS,
        request::VFIO_DEVICE_FEATURE,
        request::KVM_SET_USER_MEMORY_REGION,
        request::KVM_SIGNAL_MSI,
        request::VFIO_DEVICE_GET_IRQ_INFO,
        request::VFIO_DEVICE_RESET,
    ])): "irqfds, routes, the device's interrupts, their messages by --vfio-messages, and its reset, BARs in the guest, messages of the VMM",
    SYS_eventfd2: "an eventfd for each entry",
    SYS_fcntl (When::OneOf(1, &[bits(F_DUPFD_CLOEXEC), bits(F_GETFD), bits(F_SETFL), bits(F_GETFL)])): "duplicates of eventfds",
    SYS_pread64: "configuration space and regions of a VFIO device",
    SYS_pwrite64: "the same",
];
