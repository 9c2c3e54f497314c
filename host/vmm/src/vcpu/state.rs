//! The state of a vCPU in a snapshot.

use anyhow::{Context, Result, bail};
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use super::Vcpu;
use super::registers::{Registers, TIME_STAMP_COUNTER, write_msrs};
use crate::vm::Vm;

/// IA32_TSC_DEADLINE, which is set last, as the time stamp counter is set first.
const TSC_DEADLINE: u32 = 0x6e0;

/// Everything of a vCPU that a guest can change, and the frequency of its time stamp counter.
#[derive(Serialize, Deserialize)]
pub(crate) struct VcpuState {
    /// In kHz; 0 where KVM does not tell.
    tsc_khz: u32,
    /// The MSRs in the order in which they are set.
    registers: Registers,
}

impl VcpuState {
    /// Reads the state of a vCPU that does not run and has no access to finish.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self> {
        let mut registers = Registers::of(vcpu, kvm)?;
        let order =
            |msr: &kvm_msr_entry| (msr.index == TSC_DEADLINE, msr.index != TIME_STAMP_COUNTER, msr.index);
        registers.msrs.sort_by_key(order);
        Ok(Self { tsc_khz: vcpu.get_tsc_khz().unwrap_or(0), registers })
    }

    /// Brings a vCPU that has not run into this state. The VM's other vCPUs do not run either.
    ///
    /// # Errors
    /// The ioctl that failed, or the register that this KVM does not take.
    pub(super) fn set(&self, vcpu: &VcpuFd) -> Result<()> {
        let here = vcpu.get_tsc_khz().unwrap_or(0);
        if self.tsc_khz != 0 && self.tsc_khz != here {
            let saved = self.tsc_khz;
            vcpu.set_tsc_khz(saved).with_context(|| {
                format!("the time stamp counter had {saved} kHz, has {here} kHz here, and cannot be scaled")
            })?;
        }
        self.registers.set(vcpu, set_msrs)
    }
}

impl Vcpu {
    /// The state of the vCPU, which has [settled](Self::settle).
    ///
    /// # Errors
    /// The ioctl that failed.
    pub(crate) fn save(&self, vm: &Vm) -> Result<VcpuState> {
        VcpuState::of(&self.fd, &vm.kvm).with_context(|| self.name())
    }

    /// Brings the vCPU, which has not run, into a state of before.
    ///
    /// # Errors
    /// The ioctl that failed, or what this KVM does not take.
    pub(crate) fn restore(&self, state: &VcpuState) -> Result<()> {
        state.set(&self.fd).with_context(|| self.name())
    }

    /// The time stamp counter, as the guest reads it.
    ///
    /// # Errors
    /// The ioctl that failed.
    pub(crate) fn counter(&self) -> Result<u64> {
        let counter =
            read(&self.fd, TIME_STAMP_COUNTER).and_then(|read| read.context("KVM does not read the counter"));
        counter.with_context(|| self.name())
    }

    /// Its frequency in kHz; 0 where KVM does not tell.
    pub(crate) fn counter_khz(&self) -> u32 {
        self.fd.get_tsc_khz().unwrap_or(0)
    }
}

/// Writes all of them. One that KVM does not write is as it should be where it has its value already.
fn set_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<()> {
    let mut left = msrs;
    while let Some((written, refused)) = write_msrs(vcpu, left)? {
        let now = read(vcpu, refused.index)?;
        if now != Some(refused.data) {
            bail!(
                "this KVM does not take {:#x} for MSR {:#x}, which is {now:x?} here; help: restore on a host with the \
                 same CPU and kernel",
                refused.data,
                refused.index
            );
        }
        left = left.get(written + 1..).unwrap_or_default();
    }
    Ok(())
}

fn read(vcpu: &VcpuFd, index: u32) -> Result<Option<u64>> {
    let asked = kvm_msr_entry { index, ..Default::default() };
    let mut asked = Msrs::from_entries(&[asked]).context("too many MSRs")?;
    let read = vcpu.get_msrs(&mut asked).context("KVM_GET_MSRS failed")?;
    Ok(asked.as_slice().first().filter(|_| read == 1).map(|msr| msr.data))
}
