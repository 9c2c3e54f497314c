#![expect(
    unsafe_code,
    reason = "a signal handler writes to the kvm_run page of the thread that it interrupts"
)]
//! Getting a vCPU thread out of `KVM_RUN`, without a window in which the kick is lost.
//!
//! A signal alone is lost if it arrives just before `KVM_RUN`; so its handler also sets `immediate_exit`, with which the
//! next `KVM_RUN` returns at once.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

thread_local! {
    /// `immediate_exit` of the vCPU that this thread runs, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: `Armed` keeps the pointer set only while the kvm_run page that it points into is mapped, and the
        // handler runs on the thread that owns it.
        let flag = unsafe { AtomicU8::from_ptr(flag) };
        flag.store(1, Ordering::Relaxed);
    }
}

/// Installs the handler; once, before the first thread is kicked.
pub(crate) fn install_handler() -> Result<()> {
    register_signal_handler(SIGRTMIN(), on_kick).context("cannot install the handler that stops vCPUs")
}

/// Makes the thread leave `KVM_RUN`, now or as soon as it enters. Nothing happens to a thread that has ended.
pub(crate) fn kick<T>(thread: &JoinHandle<T>) {
    // An error says that the thread is gone, which is all that was asked for.
    let _ = thread.kill(SIGRTMIN());
}

/// The vCPU of this thread can be kicked as long as this lives.
#[derive(Debug)]
pub(crate) struct Armed {
    // Bound to this thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl Armed {
    /// `vcpu` must outlive the result; `Vcpu` sees to it by dropping this first.
    pub(crate) fn new(vcpu: &mut VcpuFd) -> Self {
        IMMEDIATE_EXIT.set(&raw mut vcpu.get_kvm_run().immediate_exit);
        Self { _here: std::marker::PhantomData }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}
