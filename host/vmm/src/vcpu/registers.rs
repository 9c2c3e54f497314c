#![expect(unsafe_code, reason = "KVM_SET_XSAVE takes a length that kvm-ioctls leaves to its caller")]
//! Everything of a vCPU that a guest can change, as KVM reads and writes it: for a restart, and for a snapshot.
//!
//! The order of the ioctls is that of KVM's rules (Linux, "Documentation/virt/kvm/api.rst"): CR0, EFER and the mode of the
//! local APIC come with the special registers, the deadline timer's MSR needs the local APIC and the time stamp counter,
//! and pending events are last.

use anyhow::{Context, Result};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

/// IA32_TIME_STAMP_COUNTER.
pub(super) const TIME_STAMP_COUNTER: u32 = 0x10;

/// The registers. Which MSRs are kept, and in which order, is for the user of this to say.
#[derive(Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    lapic: kvm_lapic_state,
    pub(super) msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl Registers {
    /// Reads those of a vCPU that does not run and has no access to finish, with all MSRs that KVM reads.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self> {
        let indices = kvm.get_msr_index_list().context("KVM_GET_MSR_INDEX_LIST failed")?;
        // First: it takes an INIT or a SIPI that is on its way (`kvm_apic_accept_events` in arch/x86/kvm/lapic.c).
        let mp_state = vcpu.get_mp_state().context("KVM_GET_MP_STATE failed")?;
        Ok(Self {
            mp_state,
            regs: vcpu.get_regs().context("KVM_GET_REGS failed")?,
            sregs: vcpu.get_sregs().context("KVM_GET_SREGS failed")?,
            xsave: vcpu.get_xsave().context("KVM_GET_XSAVE failed")?,
            xcrs: vcpu.get_xcrs().context("KVM_GET_XCRS failed")?,
            debug_regs: vcpu.get_debug_regs().context("KVM_GET_DEBUGREGS failed")?,
            // Before the local APIC, whose timer a deadline of 0 would say has gone off.
            msrs: read_msrs(vcpu, indices.as_slice())?,
            lapic: vcpu.get_lapic().context("KVM_GET_LAPIC failed")?,
            events: vcpu.get_vcpu_events().context("KVM_GET_VCPU_EVENTS failed")?,
        })
    }

    /// Writes them to a vCPU that does not run, as the VM's other vCPUs do not. `set_msrs` writes the MSRs in its turn.
    ///
    /// # Errors
    /// The ioctl that failed, with its errno, or the error of `set_msrs`.
    pub(super) fn set(
        &self,
        vcpu: &VcpuFd,
        set_msrs: impl FnOnce(&VcpuFd, &[kvm_msr_entry]) -> Result<()>,
    ) -> Result<()> {
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

/// The MSRs of these that KVM reads.
fn read_msrs(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>> {
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
    Ok(known)
}

/// Writes these MSRs; otherwise answers how many were written before the first that KVM does not write, and that one.
pub(super) fn write_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<Option<(usize, kvm_msr_entry)>> {
    let written = vcpu.set_msrs(&Msrs::from_entries(msrs).context("too many MSRs")?);
    let written = written.context("KVM_SET_MSRS failed")?;
    Ok(msrs.get(written).map(|refused| (written, *refused)))
}
