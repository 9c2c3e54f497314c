#![expect(unsafe_code, reason = "an ioctl that kvm-ioctls does not wrap")]
//! The id of the boot CPU, which KVM takes for 0 otherwise.

use anyhow::{Context, Result};
use kvm_bindings::KVMIO;
use kvm_ioctls::VmFd;
use pvir_host::counters::Counters;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::ioctl_with_val;
use vmm_sys_util::ioctl_io_nr;

ioctl_io_nr!(KVM_SET_BOOT_CPU_ID, KVMIO, 0x78);

/// Makes the vCPU with this id the one that runs first. Before any vCPU is created.
pub(crate) fn set_id(vm: &VmFd, counters: &Counters, id: u32) -> Result<()> {
    counters.count_ioctl("KVM_SET_BOOT_CPU_ID");
    // SAFETY: `vm` is a VM, and the argument is a plain number.
    let result = unsafe { ioctl_with_val(vm, KVM_SET_BOOT_CPU_ID(), id.into()) };
    let result = if result < 0 { Err(errno::Error::last()) } else { Ok(()) };
    result.with_context(|| format!("KVM_SET_BOOT_CPU_ID {id} failed"))
}
