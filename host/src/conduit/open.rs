//! Opening the conduits of a VM.

use super::{ConduitError, HYPERCALLS, MSR};
use crate::counters::Counters;
use crate::kvm::VmDescriptor;
use kvm_bindings::{
    KVM_CAP_X86_MSR_FILTER, KVM_CAP_X86_USER_SPACE_MSR, KVM_CAP_XEN_HVM, KVM_MSR_EXIT_REASON_FILTER,
    KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
};
use kvm_ioctls::{MsrFilterRange, MsrFilterRangeFlags};
use pvir_abi::{Conduits, HYPERCALL_NUMBER};

/// The reason for which accesses to MSRs must exit (`KVM_CAP_X86_USER_SPACE_MSR`; KVM API, section 7.21).
/// [`exit_on_msr`] asks for this one alone. The capability has one set of reasons for the VM: a VMM that enables it itself
/// adds this one to its own.
pub const MSR_EXIT_REASON: u32 = KVM_MSR_EXIT_REASON_FILTER;

/// The MSR by which a Xen guest would ask for hypercall pages. With 0 here KVM accepts the call and intercepts nothing.
const XEN_MSR: u32 = 0x4000_0000;

/// Ranges of hypercalls, by first number and count, that no KVM forwards: KVM's own ones, and numbers of more than 32
/// bits.
const REFUSED: [[u64; 4]; 2] = [[1, 1, 0, 0], [1 << 32, 1, 0, 0]];

/// Opens every conduit that this KVM has, and says which these are; [`Conduits::PORT`] needs nothing. It sets the VM's
/// MSR filter and the VM's Xen configuration, so it is for a VMM that has neither. One that does opens each by itself.
///
/// `hypercall` is the instruction that the VM's CPUs have ([`hypercall_of`](super::hypercall_of)). Each ioctl is counted
/// in `counters`.
///
/// # Errors
/// The first ioctl that failed. What KVM lacks is no error.
pub fn open(vm: &VmDescriptor, hypercall: Conduits, counters: &Counters) -> Result<Conduits, ConduitError> {
    let mut conduits = Conduits::PORT;
    if exit_on_msr(vm, MSR, counters)? {
        conduits |= Conduits::MSR;
    }
    if intercept_hypercalls(vm, counters)? {
        conduits |= hypercall & HYPERCALLS;
    }
    Ok(conduits)
}

/// Makes accesses to the MSR `index`, and to no other, exit. `false` if this KVM cannot.
///
/// It replaces the VM's MSR filter. A VMM with a filter of its own adds [`msr_filter_range`] and [`MSR_EXIT_REASON`] to
/// it instead.
///
/// # Errors
/// The ioctl that failed: `KVM_ENABLE_CAP` or `KVM_X86_SET_MSR_FILTER`.
pub fn exit_on_msr(vm: &VmDescriptor, index: u32, counters: &Counters) -> Result<bool, ConduitError> {
    if vm.check_extension(KVM_CAP_X86_USER_SPACE_MSR) == 0 || vm.check_extension(KVM_CAP_X86_MSR_FILTER) == 0
    {
        return Ok(false);
    }
    counters.count_ioctl("KVM_ENABLE_CAP");
    vm.enable_cap(KVM_CAP_X86_USER_SPACE_MSR, [MSR_EXIT_REASON.into(), 0, 0, 0])
        .map_err(ConduitError::of("KVM_ENABLE_CAP (KVM_CAP_X86_USER_SPACE_MSR)"))?;
    counters.count_ioctl("KVM_X86_SET_MSR_FILTER");
    vm.deny_msr(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, index)
        .map_err(ConduitError::of("KVM_X86_SET_MSR_FILTER"))?;
    Ok(true)
}

/// The range of an MSR filter that makes accesses to the MSR `index` exit, for a VMM that sets a filter of its own:
/// reads and writes of one MSR, denied.
#[must_use]
pub const fn msr_filter_range(index: u32) -> MsrFilterRange<'static> {
    let flags = MsrFilterRangeFlags::READ.union(MsrFilterRangeFlags::WRITE);
    MsrFilterRange { flags, base: index, msr_count: 1, bitmap: &[0] }
}

/// Sends every VMCALL and VMMCALL of the guest to user space. `false` if this KVM cannot: then such an instruction must not
/// be offered to the guest.
///
/// KVM then serves no hypercall of its own any more: see [`hide_kvm_hypercalls`](super::hide_kvm_hypercalls). It replaces
/// the VM's Xen configuration, so it is not for a VM with a Xen guest.
///
/// # Errors
/// The errno of `KVM_XEN_HVM_CONFIG` (KVM API, section 4.28).
pub fn intercept_hypercalls(vm: &VmDescriptor, counters: &Counters) -> Result<bool, ConduitError> {
    if vm.check_extension(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL == 0 {
        return Ok(false);
    }
    counters.count_ioctl("KVM_XEN_HVM_CONFIG");
    vm.set_xen_config(KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, XEN_MSR)
        .map_err(ConduitError::of("KVM_XEN_HVM_CONFIG"))?;
    Ok(true)
}

/// Sends pvir's VMCALL or VMMCALL of code at privilege level 0 to user space, and no other hypercall: KVM goes on to serve
/// its own. It is in place of [`intercept_hypercalls`], with which nothing is forwarded, and comes before the first vCPU.
///
/// `capability` is the number of the capability by which a VMM names the hypercalls that KVM forwards. No released kernel
/// has one (`docs/kernel`), so no number is ever tried: it comes from whoever runs such a kernel. `false` if this KVM has
/// no capability of this number, or one that accepts what this one refuses. The VM is then not to be used any more, since
/// another capability may be enabled in it.
///
/// # Errors
/// The errno of `KVM_ENABLE_CAP` (KVM API, section 4.37): `EINVAL` where the VM has a vCPU.
pub fn forward_hypercall(
    vm: &VmDescriptor,
    capability: u32,
    counters: &Counters,
) -> Result<bool, ConduitError> {
    if vm.check_extension(capability) == 0 {
        return Ok(false);
    }
    for range in REFUSED {
        counters.count_ioctl("KVM_ENABLE_CAP");
        if vm.enable_cap(capability, range).is_ok() {
            return Ok(false);
        }
    }
    counters.count_ioctl("KVM_ENABLE_CAP");
    vm.enable_cap(capability, [HYPERCALL_NUMBER.into(), 1, 0, 0])
        .map_err(ConduitError::of("KVM_ENABLE_CAP (forwarding of hypercalls)"))?;
    Ok(true)
}
