//! The MSR conduit: a filter that lets accesses to one MSR exit.

use anyhow::{Context, Result};
use kvm_bindings::{KVM_MSR_EXIT_REASON_FILTER, kvm_enable_cap};
use kvm_ioctls::{Cap, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use pvir_host::counters::Counters;

/// Makes accesses to the MSR `index` exit. Answers false where this KVM cannot.
pub(crate) fn enable_exits(vm: &VmFd, counters: &Counters, index: u32) -> Result<bool> {
    if !vm.check_extension(Cap::X86UserSpaceMsr) || !vm.check_extension(Cap::X86MsrFilter) {
        return Ok(false);
    }
    let cap = kvm_enable_cap {
        cap: Cap::X86UserSpaceMsr as u32,
        args: [KVM_MSR_EXIT_REASON_FILTER.into(), 0, 0, 0],
        ..Default::default()
    };
    counters.count_ioctl("KVM_ENABLE_CAP");
    vm.enable_cap(&cap).context("KVM_CAP_X86_USER_SPACE_MSR failed")?;
    let denied = MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base: index,
        msr_count: 1,
        bitmap: &[0],
    };
    counters.count_ioctl("KVM_X86_SET_MSR_FILTER");
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &[denied]).context("KVM_X86_SET_MSR_FILTER failed")?;
    Ok(true)
}
