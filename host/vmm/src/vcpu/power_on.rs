#![expect(unsafe_code, reason = "KVM_SET_XSAVE takes a length that kvm-ioctls leaves to its caller")]
//! The state of a vCPU at power-on, taken when it has just been created, and set again for a restart.
//!
//! KVM gives no vCPU back before its VM, and has no ioctl that resets one. So everything that a guest can change is read
//! once, before the guest has changed it. The order of the ioctls is that of KVM's rules: CR0, EFER and the mode of the
//! local APIC come with the special registers, the deadline timer's MSR needs the local APIC, and pending events are last
//! (Linux, "Documentation/virt/kvm/api.rst").

use anyhow::{Context, Result, bail};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};

/// IA32_TIME_STAMP_COUNTER. KVM takes a 0 for the wish that it runs with those of the other vCPUs (Linux 6.12,
/// `kvm_synchronize_tsc` in arch/x86/kvm/x86.c).
const TIME_STAMP_COUNTER: u32 = 0x10;
/// Parts in which an access comes at most that was not finished. KVM does up to 1,024 rounds of a string instruction before
/// it looks whether it is to stop (`x86_emulate_insn` in arch/x86/kvm/emulate.c).
const MOST_PARTS: u32 = 1 << 16;

/// Everything of a vCPU that a guest can change.
pub(super) struct PowerOn {
    mp_state: kvm_mp_state,
    sregs: kvm_sregs,
    regs: kvm_regs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl PowerOn {
    /// Reads the state of a vCPU that has not run.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self> {
        let indices = kvm.get_msr_index_list().context("KVM_GET_MSR_INDEX_LIST failed")?;
        Ok(Self {
            mp_state: vcpu.get_mp_state().context("KVM_GET_MP_STATE failed")?,
            sregs: vcpu.get_sregs().context("KVM_GET_SREGS failed")?,
            regs: vcpu.get_regs().context("KVM_GET_REGS failed")?,
            xsave: vcpu.get_xsave().context("KVM_GET_XSAVE failed")?,
            xcrs: vcpu.get_xcrs().context("KVM_GET_XCRS failed")?,
            debug_regs: vcpu.get_debug_regs().context("KVM_GET_DEBUGREGS failed")?,
            lapic: vcpu.get_lapic().context("KVM_GET_LAPIC failed")?,
            msrs: msrs(vcpu, indices.as_slice())?,
            events: vcpu.get_vcpu_events().context("KVM_GET_VCPU_EVENTS failed")?,
        })
    }

    /// Brings the vCPU, which must not run, into that state. Other vCPUs must not run either: they could start it.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn set(&self, vcpu: &mut VcpuFd) -> Result<()> {
        finish_access(vcpu)?;
        // Reading it takes an INIT or a SIPI that is on its way (`kvm_apic_accept_events` in arch/x86/kvm/lapic.c).
        vcpu.get_mp_state().context("KVM_GET_MP_STATE failed")?;
        vcpu.set_mp_state(self.mp_state).context("KVM_SET_MP_STATE failed")?;
        vcpu.set_sregs(&self.sregs).context("KVM_SET_SREGS failed")?;
        vcpu.set_regs(&self.regs).context("KVM_SET_REGS failed")?;
        // SAFETY: KVM reads more than the 4,096 bytes of a `kvm_xsave` only for features that a process has to ask for
        // (`arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM)`), and this one asks for none.
        unsafe { vcpu.set_xsave(&self.xsave) }.context("KVM_SET_XSAVE failed")?;
        vcpu.set_xcrs(&self.xcrs).context("KVM_SET_XCRS failed")?;
        vcpu.set_debug_regs(&self.debug_regs).context("KVM_SET_DEBUGREGS failed")?;
        vcpu.set_lapic(&self.lapic).context("KVM_SET_LAPIC failed")?;
        if let Some(refused) = set_msrs(vcpu, &self.msrs)? {
            bail!("KVM_SET_MSRS does not take {:#x} for MSR {:#x}", refused.data, refused.index);
        }
        vcpu.set_vcpu_events(&self.events).context("KVM_SET_VCPU_EVENTS failed")
    }
}

/// Has KVM finish the access that the vCPU was stopped in: otherwise it would be finished after the reset, with registers
/// of before. Leaves the vCPU able to run.
fn finish_access(vcpu: &mut VcpuFd) -> Result<()> {
    vcpu.set_kvm_immediate_exit(1);
    let finished = (0..MOST_PARTS).find_map(|_| match vcpu.run() {
        // The next part, which nobody serves any more.
        Ok(_) => None,
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    });
    vcpu.set_kvm_immediate_exit(0);
    match finished {
        Some(result) => result.context("KVM_RUN failed, which was to finish the last access"),
        None => bail!("the last access of the vCPU does not end"),
    }
}

/// The MSRs of these that KVM reads, and writes with the same value.
fn msrs(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>> {
    let entry = |index: &u32| kvm_msr_entry { index: *index, ..Default::default() };
    let mut left: Vec<kvm_msr_entry> = indices.iter().map(entry).collect();
    let mut known = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let mut asked = Msrs::from_entries(&left).context("too many MSRs")?;
        let read = vcpu.get_msrs(&mut asked).context("KVM_GET_MSRS failed")?;
        known.extend(asked.as_slice().iter().take(read).copied());
        // The one that ended it is none of this vCPU's.
        left.drain(..left.len().min(read + 1));
    }
    known.iter_mut().filter(|msr| msr.index == TIME_STAMP_COUNTER).for_each(|msr| msr.data = 0);
    while let Some(refused) = set_msrs(vcpu, &known)? {
        tracing::debug!("KVM does not write MSR {:#x}: a restart leaves it alone", refused.index);
        known.retain(|msr| msr.index != refused.index);
    }
    Ok(known)
}

/// Writes all of them; otherwise answers with the first that KVM does not write.
fn set_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<Option<kvm_msr_entry>> {
    let written = vcpu.set_msrs(&Msrs::from_entries(msrs).context("too many MSRs")?);
    let written = written.context("KVM_SET_MSRS failed")?;
    Ok(msrs.get(written).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vCPU in a VM of its own; `None` where there is no KVM.
    fn vcpu() -> Option<(Kvm, kvm_ioctls::VmFd, VcpuFd)> {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIP: /dev/kvm is absent or not permitted");
            return None;
        };
        let vm = kvm.create_vm().unwrap();
        let cap = kvm_bindings::kvm_enable_cap {
            cap: kvm_bindings::KVM_CAP_SPLIT_IRQCHIP,
            args: [24, 0, 0, 0],
            ..Default::default()
        };
        vm.enable_cap(&cap).unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        let cpuid = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES).unwrap();
        vcpu.set_cpuid2(&cpuid).unwrap();
        Some((kvm, vm, vcpu))
    }

    #[test]
    fn what_a_guest_can_change_is_as_it_was() {
        let Some((kvm, _vm, mut vcpu)) = vcpu() else { return };
        let power_on = PowerOn::of(&vcpu, &kvm).unwrap();
        let before = (vcpu.get_regs().unwrap(), vcpu.get_sregs().unwrap(), vcpu.get_lapic().unwrap());

        vcpu.set_regs(&kvm_regs { rax: 7, rip: 0x1234, rflags: 2, ..before.0 }).unwrap();
        let mut sregs = before.1;
        (sregs.cr2, sregs.cr8, sregs.idt.base) = (0x5000, 3, 0x6000);
        vcpu.set_sregs(&sregs).unwrap();
        let mut lapic = before.2;
        // The spurious interrupt vector register, with the APIC enabled, and a vector that is pending in IRR.
        (lapic.regs[0xf0], lapic.regs[0xf1], lapic.regs[0x220]) = (-1, 1, 2);
        vcpu.set_lapic(&lapic).unwrap();
        const SYSENTER_EIP: u32 = 0x176;
        let entry = kvm_msr_entry { index: SYSENTER_EIP, data: 0x9000, ..Default::default() };
        assert_eq!(set_msrs(&vcpu, &[entry]).unwrap().map(|msr| msr.index), None);
        let mut debug = vcpu.get_debug_regs().unwrap();
        debug.db[0] = 0x4000;
        vcpu.set_debug_regs(&debug).unwrap();
        vcpu.set_mp_state(kvm_mp_state { mp_state: kvm_bindings::KVM_MP_STATE_HALTED }).unwrap();

        power_on.set(&mut vcpu).unwrap();
        assert_eq!((vcpu.get_regs().unwrap(), vcpu.get_sregs().unwrap()), (before.0, before.1));
        assert_eq!(vcpu.get_lapic().unwrap().regs, before.2.regs);
        assert_eq!(vcpu.get_debug_regs().unwrap().db[0], 0);
        assert_eq!(vcpu.get_mp_state().unwrap(), power_on.mp_state);
        let mut msr =
            Msrs::from_entries(&[kvm_msr_entry { index: SYSENTER_EIP, ..Default::default() }]).unwrap();
        vcpu.get_msrs(&mut msr).unwrap();
        assert_eq!(msr.as_slice()[0].data, 0);
        assert_eq!(vcpu.get_kvm_run().immediate_exit, 0, "it can run");
    }

    #[test]
    fn msrs_that_every_guest_uses_are_among_them() {
        let Some((kvm, _vm, vcpu)) = vcpu() else { return };
        let known: Vec<u32> = PowerOn::of(&vcpu, &kvm).unwrap().msrs.iter().map(|msr| msr.index).collect();
        // SYSENTER, STAR, LSTAR, KERNEL_GS_BASE, PAT, kvmclock, the deadline timer.
        for index in [0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0102, 0x277, 0x4b56_4d01, 0x6e0] {
            assert!(known.contains(&index), "{index:#x} is not in {known:x?}");
        }
    }
}
