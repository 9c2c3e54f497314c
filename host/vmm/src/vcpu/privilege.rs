//! The privilege level of a caller by port. An intercepted hypercall brings it along, and `WRMSR` faults by itself;
//! `OUT` does neither.

use kvm_bindings::KVM_SYNC_X86_SREGS;
use kvm_ioctls::{Cap, Kvm, SyncReg, VcpuFd};
use pvir_host::counters::Counter;

/// How the level of a vCPU is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// By an ioctl, each time.
    Asked,
    /// By an ioctl the first time. A guest that has called by port will do so again, and from then on it comes along.
    AskedOnce,
    /// It comes along with each exit. Only guests that call by port pay for that.
    Synced,
}

/// What is not known is the least trusted.
const UNKNOWN: u8 = 3;

impl Privilege {
    /// The cheapest way that this KVM has.
    pub(crate) fn of(kvm: &Kvm) -> Self {
        let fields = u32::try_from(kvm.check_extension_int(Cap::SyncRegs)).unwrap_or(0);
        if fields & KVM_SYNC_X86_SREGS == 0 { Self::Asked } else { Self::AskedOnce }
    }

    /// The level of the code that runs: that of the stack segment. To be called once for an exit. `get_sregs` counts the
    /// ioctl, where it takes one.
    pub(crate) fn level(&mut self, vcpu: &mut VcpuFd, get_sregs: &Counter) -> u8 {
        if *self == Self::Synced {
            return vcpu.sync_regs().sregs.ss.dpl;
        }
        if *self == Self::AskedOnce {
            vcpu.set_sync_valid_reg(SyncReg::SystemRegister);
            *self = Self::Synced;
        }
        Self::ask(vcpu, get_sregs)
    }

    /// The level of the code that runs, by an ioctl: for what is asked too rarely to have the level come with each exit.
    pub(crate) fn ask(vcpu: &VcpuFd, get_sregs: &Counter) -> u8 {
        get_sregs.count();
        vcpu.get_sregs().map_or(UNKNOWN, |sregs| sregs.ss.dpl)
    }
}
