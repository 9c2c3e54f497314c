//! From an exit to the service.

use super::{Direction, Exit, HYPERCALLS, NO_SUCH_CALL, PortAccess, RunPage};
use crate::service::Service;
use pvir_abi::{Conduits, Discovery, GuestPhysAddr, HYPERCALL_NUMBER, PORT_ADDRESS_SHIFT, Status};
use std::sync::Arc;

/// Bytes of an access to the port that is a call or asks for its status (`docs/abi.md`, statement C5).
const ACCESS: usize = 4;

/// The service, as the conduits see it. A vCPU is named by its index, not by its APIC id.
///
/// [`Service`] is one; a VMM may put its own around it, to trace or to change what a guest gets.
pub trait Hypercalls: Send + Sync {
    /// What the signature block of CPUID says of the service.
    fn discovery(&self) -> Discovery;

    /// Serves the request block at `block` for a caller at privilege level `cpl`. Gives the status of the whole call.
    fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status;

    /// The status of the last call of a vCPU.
    fn last_status(&self, vcpu: usize) -> Status;

    /// Whether an access of `bytes` bytes to the port reaches the service (`docs/abi.md`, statement C5).
    fn takes_port_access(&self, bytes: u8) -> bool {
        usize::from(bytes) == ACCESS
    }
}

impl Hypercalls for Service {
    fn discovery(&self) -> Discovery {
        *self.discovery()
    }

    fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status {
        self.call(vcpu, cpl, block)
    }

    fn last_status(&self, vcpu: usize) -> Status {
        self.last_status(vcpu)
    }
}

/// What became of an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Handled {
    /// It is none of a conduit's, and nothing was done: the VMM handles it.
    NotOurs,
    /// The guest has called by this conduit, and has its answer.
    Call(Conduits),
    /// The guest has read the status of its last call, by this conduit.
    Status(Conduits),
    /// An access to the port that is no call (statement C5): a read has got all ones, a write is ignored.
    NoCall,
    /// A hypercall that is not pvir's. The guest has got [`NO_SUCH_CALL`], as from a KVM that does not know it.
    OtherHypercall,
}

/// The conduits of a VM, by which its vCPUs reach the service. A clone is the same.
///
/// A conduit that the discovery block does not show does not exist.
#[derive(Clone)]
pub struct Calls {
    service: Arc<dyn Hypercalls>,
    shown: Discovery,
}

impl Calls {
    /// The conduits that `service` shows in its discovery block.
    #[must_use]
    pub fn new(service: Arc<dyn Hypercalls>) -> Self {
        let shown = service.discovery();
        Self { service, shown }
    }

    /// Whether `port` is that of the conduit.
    #[must_use]
    pub fn is_port(&self, port: u16) -> bool {
        self.shows(Conduits::PORT) && port == self.shown.port
    }

    /// Whether the MSR `index` is that of the conduit.
    #[must_use]
    pub fn is_msr(&self, index: u32) -> bool {
        self.shows(Conduits::MSR) && index == self.shown.msr
    }

    /// OUT of 4 bytes to the port, at privilege level `cpl`: the call. The level is that of the code that runs on the
    /// vCPU (DPL of SS), because a kernel may let code without privilege use the port.
    pub fn port_write(&self, vcpu: usize, cpl: u8, value: u32) {
        self.service.call(vcpu, cpl, GuestPhysAddr(u64::from(value) << PORT_ADDRESS_SHIFT));
    }

    /// IN of 4 bytes from the port: the status of the vCPU's last call.
    #[must_use]
    pub fn port_read(&self, vcpu: usize) -> u32 {
        self.service.last_status(vcpu).0
    }

    /// `WRMSR` of `value` to the MSR: the call. The instruction faults at every privilege level but 0 before KVM sees it.
    pub fn msr_write(&self, vcpu: usize, value: u64) {
        self.service.call(vcpu, 0, GuestPhysAddr(value));
    }

    /// `RDMSR` of the MSR: the status of the vCPU's last call.
    #[must_use]
    pub fn msr_read(&self, vcpu: usize) -> u64 {
        self.service.last_status(vcpu).0.into()
    }

    /// A VMCALL or VMMCALL with `number` in RAX and `address` in RDI, at privilege level `cpl`: the call. The answer is for
    /// RAX. `None` if the hypercall is not pvir's; the answer to one that nobody knows is
    /// [`NO_SUCH_CALL`].
    #[must_use]
    pub fn hypercall(&self, vcpu: usize, cpl: u8, number: u64, address: u64) -> Option<u64> {
        self.is_ours(number).then(|| self.service.call(vcpu, cpl, GuestPhysAddr(address)).0.into())
    }

    /// Serves the exit of a vCPU, if it is a call or asks for the status of one. `page` is the `kvm_run` of the vCPU with
    /// the index `vcpu`, and gets the answer. `cpl` tells the privilege level of the code that runs on it (DPL of SS), and
    /// is asked only where the exit does not bring it along.
    pub fn serve(&self, page: &mut RunPage<'_>, vcpu: usize, cpl: impl FnOnce() -> u8) -> Handled {
        match page.exit() {
            Exit::Port(access) if self.is_port(access.port) => self.port(page, &access, vcpu, cpl),
            Exit::ReadMsr { index } if self.is_msr(index) => {
                page.answer_msr(Some(self.msr_read(vcpu)));
                Handled::Status(Conduits::MSR)
            }
            Exit::WriteMsr { index, value } if self.is_msr(index) => {
                self.msr_write(vcpu, value);
                page.answer_msr(Some(0));
                Handled::Call(Conduits::MSR)
            }
            Exit::ForwardedHypercall(call) => {
                // Other numbers were forwarded for somebody else.
                let answer = self.hypercall(vcpu, call.cpl, call.number, call.rdi);
                answer.map_or(Handled::NotOurs, |answer| {
                    page.answer_hypercall(answer);
                    Handled::Call(self.shown.conduits & HYPERCALLS)
                })
            }
            Exit::Hypercall(call) => {
                let answer = self.hypercall(vcpu, call.cpl, call.number, call.rdi);
                page.answer_hypercall(answer.unwrap_or(NO_SUCH_CALL));
                match answer {
                    Some(_) => Handled::Call(self.shown.conduits & HYPERCALLS),
                    None => Handled::OtherHypercall,
                }
            }
            _ => Handled::NotOurs,
        }
    }

    /// Whether the hypercall `number` is pvir's.
    pub(super) fn is_ours(&self, number: u64) -> bool {
        self.shown.conduits.intersects(HYPERCALLS) && number == u64::from(HYPERCALL_NUMBER)
    }

    /// Whether [`serve`](Self::serve) will ask for the privilege level.
    pub(super) fn asks_for_level(&self, exit: &Exit) -> bool {
        matches!(exit, Exit::Port(access) if self.is_port(access.port)
            && access.direction == Direction::Out
            && self.service.takes_port_access(access.size))
    }

    fn port(
        &self,
        page: &mut RunPage<'_>,
        access: &PortAccess,
        vcpu: usize,
        cpl: impl FnOnce() -> u8,
    ) -> Handled {
        let data = page.port_data(access);
        let taken = self.service.takes_port_access(access.size);
        match access.direction {
            Direction::In if taken => {
                let status = self.port_read(vcpu).to_le_bytes();
                data.chunks_exact_mut(ACCESS).for_each(|element| element.copy_from_slice(&status));
                Handled::Status(Conduits::PORT)
            }
            Direction::Out if taken => {
                let cpl = cpl();
                for element in data.chunks_exact(ACCESS) {
                    self.port_write(vcpu, cpl, element.try_into().map_or(0, u32::from_le_bytes));
                }
                Handled::Call(Conduits::PORT)
            }
            Direction::In => {
                data.fill(0xff);
                Handled::NoCall
            }
            Direction::Out => Handled::NoCall,
        }
    }

    fn shows(&self, conduit: Conduits) -> bool {
        self.shown.conduits.contains(conduit)
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
