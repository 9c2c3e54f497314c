#![expect(unsafe_code, reason = "ioctls that kvm-ioctls does not wrap")]
//! The ioctls which kvm-ioctls lacks: interception of hypercalls (made for Xen guests) and the id of the boot CPU.

use anyhow::{Context, Result};
use kvm_bindings::{KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, KVMIO, kvm_xen_hvm_config};
use kvm_ioctls::{Cap, VmFd};
use pvir_host::counters::Counters;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr};

ioctl_io_nr!(KVM_SET_BOOT_CPU_ID, KVMIO, 0x78);
ioctl_iow_nr!(KVM_XEN_HVM_CONFIG, KVMIO, 0x7a, kvm_xen_hvm_config);

/// The MSR by which a Xen guest would ask for hypercall pages. With 0 here KVM accepts the call and intercepts nothing.
const XEN_MSR: u32 = 0x4000_0000;

/// Sends every VMCALL and VMMCALL of the guest to user space. Answers false where this KVM cannot: then such an instruction must
/// not be offered to the guest as a conduit.
pub(crate) fn enable_hypercall_intercept(vm: &VmFd, counters: &Counters) -> Result<bool> {
    let offered = u32::try_from(vm.check_extension_int(Cap::XenHvm)).unwrap_or(0);
    if offered & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL == 0 {
        return Ok(false);
    }
    let config =
        kvm_xen_hvm_config { flags: KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, msr: XEN_MSR, ..Default::default() };
    counters.count_ioctl("KVM_XEN_HVM_CONFIG");
    // SAFETY: `vm` is a VM, and the ioctl only reads a `kvm_xen_hvm_config`, which lives across the call.
    let result = unsafe { ioctl_with_ref(vm, KVM_XEN_HVM_CONFIG(), &config) };
    check(result).context("KVM_XEN_HVM_CONFIG failed, although KVM_CAP_XEN_HVM offers interception")?;
    Ok(true)
}

/// Makes the vCPU with this id the one that runs first. Before any vCPU is created.
pub(crate) fn set_boot_cpu_id(vm: &VmFd, counters: &Counters, id: u32) -> Result<()> {
    counters.count_ioctl("KVM_SET_BOOT_CPU_ID");
    // SAFETY: `vm` is a VM, and the argument is a plain number.
    let result = unsafe { ioctl_with_val(vm, KVM_SET_BOOT_CPU_ID(), id.into()) };
    check(result).with_context(|| format!("KVM_SET_BOOT_CPU_ID {id} failed"))
}

fn check(result: i32) -> Result<(), errno::Error> {
    if result < 0 { Err(errno::Error::last()) } else { Ok(()) }
}
