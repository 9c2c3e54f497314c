#![expect(unsafe_code, reason = "KVM_SET_XSAVE takes a length that kvm-ioctls leaves to its caller")]
//! The state of a vCPU in a snapshot.
//!
//! The order of the ioctls is that of KVM's rules (Linux, "Documentation/virt/kvm/api.rst"): the mode of the local APIC
//! comes with the special registers, the deadline timer's MSR needs the local APIC and the time stamp counter, and pending
//! events are last.

use anyhow::{Context, Result, bail};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

/// IA32_TIME_STAMP_COUNTER, to be set first, and IA32_TSC_DEADLINE, to be set last.
const TIME_STAMP_COUNTER: u32 = 0x10;
const TSC_DEADLINE: u32 = 0x6e0;

/// Everything of a vCPU that a guest can change, and the frequency of its time stamp counter.
#[derive(Serialize, Deserialize)]
pub(crate) struct VcpuState {
    /// In kHz; 0 where KVM does not tell.
    tsc_khz: u32,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl VcpuState {
    /// Reads the state of a vCPU that does not run and has no access to finish.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self> {
        let indices = kvm.get_msr_index_list().context("KVM_GET_MSR_INDEX_LIST failed")?;
        // First: it takes an INIT or a SIPI that is on its way (`kvm_apic_accept_events` in arch/x86/kvm/lapic.c).
        let mp_state = vcpu.get_mp_state().context("KVM_GET_MP_STATE failed")?;
        Ok(Self {
            tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
            mp_state,
            regs: vcpu.get_regs().context("KVM_GET_REGS failed")?,
            sregs: vcpu.get_sregs().context("KVM_GET_SREGS failed")?,
            xsave: vcpu.get_xsave().context("KVM_GET_XSAVE failed")?,
            xcrs: vcpu.get_xcrs().context("KVM_GET_XCRS failed")?,
            debug_regs: vcpu.get_debug_regs().context("KVM_GET_DEBUGREGS failed")?,
            // Before the local APIC, whose timer a deadline of 0 would say has gone off.
            msrs: msrs(vcpu, indices.as_slice())?,
            lapic: vcpu.get_lapic().context("KVM_GET_LAPIC failed")?,
            events: vcpu.get_vcpu_events().context("KVM_GET_VCPU_EVENTS failed")?,
        })
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
        vcpu.set_mp_state(self.mp_state).context("KVM_SET_MP_STATE failed")?;
        vcpu.set_sregs(&self.sregs).context("KVM_SET_SREGS failed")?;
        vcpu.set_regs(&self.regs).context("KVM_SET_REGS failed")?;
        // SAFETY: KVM reads more than the 4,096 bytes of a `kvm_xsave` only for features that a process has to ask for
        // (`arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM)`), and this one asks for none.
        unsafe { vcpu.set_xsave(&self.xsave) }.context("KVM_SET_XSAVE failed")?;
        vcpu.set_xcrs(&self.xcrs).context("KVM_SET_XCRS failed")?;
        vcpu.set_debug_regs(&self.debug_regs).context("KVM_SET_DEBUGREGS failed")?;
        vcpu.set_lapic(&self.lapic).context("KVM_SET_LAPIC failed")?;
        set_msrs(vcpu, &self.msrs)?;
        vcpu.set_vcpu_events(&self.events).context("KVM_SET_VCPU_EVENTS failed")
    }
}

/// The MSRs of these that KVM reads, in the order in which they are to be set.
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
    known.sort_by_key(|msr| (msr.index == TSC_DEADLINE, msr.index != TIME_STAMP_COUNTER, msr.index));
    Ok(known)
}

/// Writes all of them. One that KVM does not write is as it should be where it has its value already.
fn set_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<()> {
    let mut left = msrs;
    while !left.is_empty() {
        let entries = Msrs::from_entries(left).context("too many MSRs")?;
        let written = vcpu.set_msrs(&entries).context("KVM_SET_MSRS failed")?;
        let Some(refused) = left.get(written) else { return Ok(()) };
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
