//! The conduits of one vCPU of [`kvm_ioctls`].

use super::{Calls, Handled, Hypercalls, RunPage, RunSize};
use crate::counters::{Counter, Counters};
use kvm_bindings::{KVM_EXIT_XEN, KVM_SYNC_X86_SREGS};
use kvm_ioctls::{Cap, SyncReg, VcpuExit, VcpuFd, VmFd};
use std::sync::Arc;

/// The conduits of one vCPU, in the loop that runs it.
///
/// ```no_run
/// # use kvm_ioctls::{VcpuExit, VcpuFd};
/// # use pvir_host::conduit::VcpuConduits;
/// # fn run(mut vcpu: VcpuFd, mut conduits: VcpuConduits) -> Result<(), kvm_ioctls::Error> {
/// loop {
///     match vcpu.run()? {
///         exit if conduits.takes(&exit) => {
///             conduits.serve(&mut vcpu);
///         }
///         VcpuExit::Hlt => return Ok(()),
///         _ => {} // all that the VMM does besides
///     }
/// }
/// # }
/// ```
pub struct VcpuConduits {
    calls: Calls,
    index: usize,
    size: RunSize,
    privilege: Privilege,
    get_sregs: Counter,
}

impl VcpuConduits {
    /// The conduits of the vCPU with the index `index` in [`Config::apic_ids`](crate::service::Config::apic_ids), a vCPU
    /// of `vm`. `KVM_GET_SREGS`, by which the privilege level of a caller is learnt, is counted in `counters`.
    #[must_use]
    pub fn new(vm: &VmFd, index: usize, service: Arc<dyn Hypercalls>, counters: &Counters) -> Self {
        Self {
            calls: Calls::new(service),
            index,
            size: RunSize::of(vm),
            privilege: Privilege::of(vm),
            get_sregs: counters.ioctl("KVM_GET_SREGS"),
        }
    }

    /// Whether an exit is one that [`serve`](Self::serve) serves. The decoder of [`kvm_ioctls`] does not tell enough to
    /// serve it by, so nothing is taken from `exit` but this answer.
    #[must_use]
    pub fn takes(&self, exit: &VcpuExit<'_>) -> bool {
        match exit {
            VcpuExit::IoIn(port, _) | VcpuExit::IoOut(port, _) => self.calls.is_port(*port),
            VcpuExit::X86Rdmsr(exit) => self.calls.is_msr(exit.index),
            VcpuExit::X86Wrmsr(exit) => self.calls.is_msr(exit.index),
            VcpuExit::Hypercall(exit) => self.calls.is_ours(exit.nr),
            VcpuExit::Unsupported(reason) => *reason == KVM_EXIT_XEN,
            _ => false,
        }
    }

    /// Serves the exit that the vCPU has come back with, if it is a call or asks for the status of one. With
    /// [`Handled::NotOurs`] nothing was done.
    pub fn serve(&mut self, vcpu: &mut VcpuFd) -> Handled {
        let asks = self.calls.asks_for_level(&RunPage::of(vcpu, self.size).exit());
        // Nobody asks for it otherwise.
        let level = if asks { self.privilege.level(vcpu, &self.get_sregs) } else { Privilege::UNKNOWN };
        self.calls.serve(&mut RunPage::of(vcpu, self.size), self.index, || level)
    }
}

/// How the privilege level of a vCPU's code is learnt. A hypercall brings it along, and `WRMSR` faults by
/// itself; `OUT` does neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Privilege {
    /// By `KVM_GET_SREGS`, each time.
    Asked,
    /// By `KVM_GET_SREGS` the first time. A guest that has called by port will do so again, and from then on the level
    /// comes along.
    AskedOnce,
    /// It comes along with each exit (`KVM_CAP_SYNC_REGS`). Only guests that call by port pay for that.
    Synced,
}

impl Privilege {
    /// The level of what is not known: the least trusted one.
    pub const UNKNOWN: u8 = 3;

    /// The cheapest way that the KVM of `vm` has.
    #[must_use]
    pub fn of(vm: &VmFd) -> Self {
        let fields = u32::try_from(vm.check_extension_int(Cap::SyncRegs)).unwrap_or(0);
        if fields & KVM_SYNC_X86_SREGS == 0 { Self::Asked } else { Self::AskedOnce }
    }

    /// The level of the code that runs: that of the stack segment. To be called once for an exit. `get_sregs` counts the
    /// ioctl, where it takes one.
    pub fn level(&mut self, vcpu: &mut VcpuFd, get_sregs: &Counter) -> u8 {
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
    pub fn ask(vcpu: &VcpuFd, get_sregs: &Counter) -> u8 {
        get_sregs.count();
        vcpu.get_sregs().map_or(Self::UNKNOWN, |sregs| sregs.ss.dpl)
    }
}
