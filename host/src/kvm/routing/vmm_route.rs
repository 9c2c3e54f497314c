//! Routes that the VMM has for itself.

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_irqchip, kvm_irq_routing_msi,
};

/// What KVM does when a GSI of the VMM is raised (KVM API, section 4.52 `KVM_SET_GSI_ROUTING`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RouteTarget {
    /// It injects a message (`KVM_IRQ_ROUTING_MSI`). KVM validates next to nothing of it.
    Msi {
        /// The message's address; bits 31:8 of a destination id stand in bits 63:40.
        address: u64,
        /// The message's data.
        data: u32,
    },
    /// It raises a pin of an irqchip in the kernel (`KVM_IRQ_ROUTING_IRQCHIP`).
    Pin {
        /// `KVM_IRQCHIP_PIC_MASTER` (0), `KVM_IRQCHIP_PIC_SLAVE` (1) or `KVM_IRQCHIP_IOAPIC` (2).
        irqchip: u32,
        /// The pin of the irqchip, from 0.
        pin: u32,
    },
}

/// One route of the VMM's. A GSI may have several targets, but at most one of them a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VmmRoute {
    /// Global system interrupt, below [`MAX_GSI`](crate::kvm::MAX_GSI).
    pub gsi: u32,
    /// What the GSI does.
    pub target: RouteTarget,
}

impl VmmRoute {
    /// A route to a message.
    #[must_use]
    pub const fn msi(gsi: u32, address: u64, data: u32) -> Self {
        Self { gsi, target: RouteTarget::Msi { address, data } }
    }

    /// A route to a pin of an irqchip in the kernel.
    #[must_use]
    pub const fn pin(gsi: u32, irqchip: u32, pin: u32) -> Self {
        Self { gsi, target: RouteTarget::Pin { irqchip, pin } }
    }

    /// The routes that `KVM_CREATE_IRQCHIP` has given the VM: GSIs 0 to 15 raise the pins of the I/O APIC and of the two
    /// PICs, and GSIs 16 to 23 the other pins of the I/O APIC (`default_routing` in arch/x86/kvm/irq_comm.c, Linux
    /// 6.12). A VM with a split irqchip starts without a route.
    #[must_use]
    pub fn of_full_irqchip() -> Vec<Self> {
        let io_apic = |gsi| Self::pin(gsi, KVM_IRQCHIP_IOAPIC, gsi);
        let pic = |gsi| match gsi {
            0..8 => Self::pin(gsi, KVM_IRQCHIP_PIC_MASTER, gsi),
            _ => Self::pin(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8),
        };
        let shared = (0..16).flat_map(|gsi| [io_apic(gsi), pic(gsi)]);
        shared.chain((16..24).map(io_apic)).collect()
    }

    /// The route as KVM has it.
    pub(super) fn entry(&self) -> kvm_irq_routing_entry {
        let (type_, u) = match self.target {
            RouteTarget::Msi { address, data } => {
                let [l0, l1, l2, l3, h0, h1, h2, h3] = address.to_le_bytes();
                let (low, high) = ([l0, l1, l2, l3], [h0, h1, h2, h3]);
                (KVM_IRQ_ROUTING_MSI, msi(u32::from_le_bytes(low), u32::from_le_bytes(high), data))
            }
            RouteTarget::Pin { irqchip, pin } => {
                let irqchip = kvm_irq_routing_irqchip { irqchip, pin };
                (KVM_IRQ_ROUTING_IRQCHIP, kvm_irq_routing_entry__bindgen_ty_1 { irqchip })
            }
        };
        kvm_irq_routing_entry { gsi: self.gsi, type_, u, ..Default::default() }
    }
}

/// The target of a route to a message.
pub(super) fn msi(address_lo: u32, address_hi: u32, data: u32) -> kvm_irq_routing_entry__bindgen_ty_1 {
    let msi = kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
    kvm_irq_routing_entry__bindgen_ty_1 { msi }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_routes_are_those_of_kvm() {
        let routes = VmmRoute::of_full_irqchip();
        assert_eq!(routes.len(), 40);
        let of = |gsi| routes.iter().filter(|route| route.gsi == gsi).copied().collect::<Vec<_>>();
        assert_eq!(of(4), [VmmRoute::pin(4, 2, 4), VmmRoute::pin(4, 0, 4)]);
        assert_eq!(of(9), [VmmRoute::pin(9, 2, 9), VmmRoute::pin(9, 1, 1)]);
        assert_eq!(of(23), [VmmRoute::pin(23, 2, 23)]);
    }
}
