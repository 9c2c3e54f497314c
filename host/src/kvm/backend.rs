//! The real KVM.

use super::{GsiRoute, GsiRouting, IrqRouter};
use crate::counters::{Counter, Counters};
use crate::eventfd::EventFd;
use crate::message::Message;
use kvm_bindings::KVM_CAP_SIGNAL_MSI;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

/// The [`IrqRouter`] of a real VM, made by [`GsiRouting::router`].
///
/// The VMM must have enabled `KVM_CAP_X2APIC_API` with `KVM_X2APIC_API_USE_32BIT_IDS`: APIC ids above 255 are passed
/// in bits 31:8 of `address_hi` (KVM API, section 4.52 `KVM_SET_GSI_ROUTING`).
#[derive(Debug)]
pub struct KvmRouter {
    routing: GsiRouting,
    gsis: Range<u32>,
    irqfd: Counter,
    ahead: Counter,
    deassign: Counter,
    closed: Counter,
    signal: Counter,
}

impl KvmRouter {
    /// Each ioctl is counted in `counters`: `KVM_IRQFD`, `KVM_IRQFD (ahead)`, `KVM_IRQFD (de-assign)` and
    /// `KVM_SIGNAL_MSI`; and `KVM_IRQFD (close)`, the end of an irqfd that goes with its eventfd and takes no ioctl.
    pub(super) fn new(routing: GsiRouting, gsis: Range<u32>, counters: &Counters) -> Self {
        Self {
            routing,
            gsis,
            irqfd: counters.ioctl("KVM_IRQFD"),
            ahead: counters.ioctl("KVM_IRQFD (ahead)"),
            deassign: counters.ioctl("KVM_IRQFD (de-assign)"),
            closed: counters.ioctl("KVM_IRQFD (close)"),
            signal: counters.ioctl("KVM_SIGNAL_MSI"),
        }
    }
}

impl Drop for KvmRouter {
    fn drop(&mut self) {
        self.routing.end_of_router();
    }
}

impl IrqRouter for KvmRouter {
    fn gsis(&self) -> Option<Range<u32>> {
        Some(self.gsis.clone())
    }

    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
        self.routing.replace_of_pvir(routes).map_err(Into::into)
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.irqfd.count();
        self.routing.vm.attach(eventfd.as_fd(), gsi)
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.deassign.count();
        self.routing.vm.detach(eventfd.as_fd(), gsi)
    }

    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.ahead.count();
        self.routing.vm.attach(eventfd.as_fd(), gsi)
    }

    /// All but the last eventfd are closed, which KVM takes for the end of their irqfds and finishes in a work queue,
    /// where the grace periods overlap. The de-assignment of the last one waits for that queue (`irqfd_wakeup` at
    /// `EPOLLHUP`, and the flush in `kvm_irqfd_deassign`, virt/kvm/eventfd.c, Linux 6.12).
    fn discard(&mut self, mut lines: Vec<(EventFd, u32)>) -> Vec<(EventFd, u32, io::Error)> {
        let Some((last, gsi)) = lines.pop() else { return Vec::new() };
        lines.iter().for_each(|_| self.closed.count());
        drop(lines);
        match self.detach(&last, gsi) {
            Ok(()) => Vec::new(),
            Err(error) => vec![(last, gsi, error)],
        }
    }

    fn can_signal(&self) -> bool {
        self.routing.vm.check_extension(KVM_CAP_SIGNAL_MSI) > 0
    }

    fn signal(&mut self, message: Message) -> io::Result<()> {
        self.signal.count();
        self.routing.vm.signal_msi(message.address_lo(), message.address_hi(), message.data())
    }
}
