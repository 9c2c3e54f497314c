//! The real KVM.

use super::{GsiRoute, IrqRouter};
use crate::counters::{Counter, Counters};
use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_msi, kvm_irq_routing_msi__bindgen_ty_1,
};
use kvm_ioctls::VmFd;
use std::io;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// The [`IrqRouter`] of a real VM, over its file descriptor.
///
/// The VMM must have enabled `KVM_CAP_X2APIC_API` with `KVM_X2APIC_API_USE_32BIT_IDS`: APIC ids above 255 are passed
/// in bits 31:8 of `address_hi` (KVM API, section 4.52 `KVM_SET_GSI_ROUTING`).
pub struct KvmRouter {
    vm: Arc<VmFd>,
    set_gsi_routing: Counter,
    irqfd: Counter,
    ahead: Counter,
    deassign: Counter,
    closed: Counter,
}

impl KvmRouter {
    /// A router for `vm`. Each ioctl that it issues is counted in `counters`: `KVM_SET_GSI_ROUTING`, `KVM_IRQFD`,
    /// `KVM_IRQFD (ahead)` and `KVM_IRQFD (de-assign)`; and `KVM_IRQFD (close)`, the end of an irqfd that goes with
    /// its eventfd and takes no ioctl.
    #[must_use]
    pub fn new(vm: Arc<VmFd>, counters: &Counters) -> Self {
        Self {
            vm,
            set_gsi_routing: counters.ioctl("KVM_SET_GSI_ROUTING"),
            irqfd: counters.ioctl("KVM_IRQFD"),
            ahead: counters.ioctl("KVM_IRQFD (ahead)"),
            deassign: counters.ioctl("KVM_IRQFD (de-assign)"),
            closed: counters.ioctl("KVM_IRQFD (close)"),
        }
    }
}

fn line(entry: &GsiRoute) -> kvm_irq_routing_entry {
    let msi = kvm_irq_routing_msi {
        address_lo: entry.message.address_lo(),
        address_hi: entry.message.address_hi(),
        data: entry.message.data(),
        __bindgen_anon_1: kvm_irq_routing_msi__bindgen_ty_1::default(),
    };
    kvm_irq_routing_entry {
        gsi: entry.gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        u: kvm_irq_routing_entry__bindgen_ty_1 { msi },
        ..Default::default()
    }
}

impl IrqRouter for KvmRouter {
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
        let mut table =
            KvmIrqRouting::new(routes.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        for (slot, route) in table.as_mut_slice().iter_mut().zip(routes) {
            *slot = line(route);
        }
        self.set_gsi_routing.count();
        self.vm.set_gsi_routing(&table).map_err(Into::into)
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.irqfd.count();
        self.vm.register_irqfd(eventfd, gsi).map_err(Into::into)
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.deassign.count();
        self.vm.unregister_irqfd(eventfd, gsi).map_err(Into::into)
    }

    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.ahead.count();
        self.vm.register_irqfd(eventfd, gsi).map_err(Into::into)
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
}

#[cfg(test)]
#[expect(unsafe_code, reason = "a union of KVM's bindings is read back")]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn a_line_has_all_of_its_message() {
        let entry = line(&GsiRoute { gsi: 24, message: Message::fixed(300, 0x51) });
        assert_eq!((entry.gsi, entry.type_), (24, KVM_IRQ_ROUTING_MSI));
        // SAFETY: `line` wrote the `msi` member.
        let msi = unsafe { entry.u.msi };
        assert_eq!((msi.address_lo, msi.address_hi, msi.data), (0xfee2_c000, 0x100, 0x51));
    }
}
