//! The state of a vCPU at power-on, taken when it has just been created, and set again for a restart.
//!
//! KVM gives no vCPU back before its VM, and has no ioctl that resets one. So everything that a guest can change is read
//! once, before the guest has changed it.
//!
//! The time stamp counter is set to 0. KVM takes a 0 for the wish that it runs with those of the other vCPUs (Linux 6.12,
//! `kvm_synchronize_tsc` in arch/x86/kvm/x86.c).

use anyhow::{Context, Result, bail};
use kvm_ioctls::{Kvm, VcpuFd};

use super::registers::{Registers, TIME_STAMP_COUNTER, write_msrs};

/// Parts in which an access comes at most that was not finished. KVM does up to 1,024 rounds of a string instruction before
/// it looks whether it is to stop (`x86_emulate_insn` in arch/x86/kvm/emulate.c).
const MOST_PARTS: u32 = 1 << 16;

/// Everything of a vCPU that a guest can change, with the MSRs that KVM writes with the same value.
pub(super) struct PowerOn(Registers);

impl PowerOn {
    /// Reads the state of a vCPU that has not run.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self> {
        let mut registers = Registers::of(vcpu, kvm)?;
        let msrs = &mut registers.msrs;
        msrs.iter_mut().filter(|msr| msr.index == TIME_STAMP_COUNTER).for_each(|msr| msr.data = 0);
        while let Some((_, refused)) = write_msrs(vcpu, msrs)? {
            tracing::debug!("KVM does not write MSR {:#x}: a restart leaves it alone", refused.index);
            msrs.retain(|msr| msr.index != refused.index);
        }
        Ok(Self(registers))
    }

    /// Brings the vCPU, which must not run, into that state. Other vCPUs must not run either: they could start it.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn set(&self, vcpu: &mut VcpuFd) -> Result<()> {
        finish_access(vcpu)?;
        // Reading it takes an INIT or a SIPI that is on its way (`kvm_apic_accept_events` in arch/x86/kvm/lapic.c).
        vcpu.get_mp_state().context("KVM_GET_MP_STATE failed")?;
        self.0.set(vcpu, |vcpu, msrs| match write_msrs(vcpu, msrs)? {
            None => Ok(()),
            Some((_, refused)) => {
                bail!("KVM_SET_MSRS does not take {:#x} for MSR {:#x}", refused.data, refused.index)
            }
        })
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

#[cfg(test)]
mod tests {
    use kvm_bindings::{Msrs, kvm_mp_state, kvm_msr_entry, kvm_regs};

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
        assert_eq!(write_msrs(&vcpu, &[entry]).unwrap().map(|(_, msr)| msr.index), None);
        let mut debug = vcpu.get_debug_regs().unwrap();
        debug.db[0] = 0x4000;
        vcpu.set_debug_regs(&debug).unwrap();
        vcpu.set_mp_state(kvm_mp_state { mp_state: kvm_bindings::KVM_MP_STATE_HALTED }).unwrap();

        power_on.set(&mut vcpu).unwrap();
        assert_eq!((vcpu.get_regs().unwrap(), vcpu.get_sregs().unwrap()), (before.0, before.1));
        assert_eq!(vcpu.get_lapic().unwrap().regs, before.2.regs);
        assert_eq!(vcpu.get_debug_regs().unwrap().db[0], 0);
        assert_eq!(vcpu.get_mp_state().unwrap(), power_on.0.mp_state);
        let mut msr =
            Msrs::from_entries(&[kvm_msr_entry { index: SYSENTER_EIP, ..Default::default() }]).unwrap();
        vcpu.get_msrs(&mut msr).unwrap();
        assert_eq!(msr.as_slice()[0].data, 0);
        assert_eq!(vcpu.get_kvm_run().immediate_exit, 0, "it can run");
    }

    #[test]
    fn msrs_that_every_guest_uses_are_among_them() {
        let Some((kvm, _vm, vcpu)) = vcpu() else { return };
        let known: Vec<u32> = PowerOn::of(&vcpu, &kvm).unwrap().0.msrs.iter().map(|msr| msr.index).collect();
        // SYSENTER, STAR, LSTAR, KERNEL_GS_BASE, PAT, kvmclock, the deadline timer.
        for index in [0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0102, 0x277, 0x4b56_4d01, 0x6e0] {
            assert!(known.contains(&index), "{index:#x} is not in {known:x?}");
        }
    }
}
