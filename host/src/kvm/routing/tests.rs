#![expect(unsafe_code, reason = "a union of KVM's bindings is read back")]

use super::*;
use crate::kvm::IrqRouter;
use crate::message::Message;
use kvm_bindings::KVM_IRQ_ROUTING_IRQCHIP;
use std::fs::File;

/// A table of something that is no VM: each ioctl fails with `ENOTTY`, and shows so that it was issued.
fn no_vm() -> (GsiRouting, Counters) {
    let counters = Counters::new();
    let file = File::open("/dev/null").unwrap();
    (GsiRouting::new(VmDescriptor::from(std::os::fd::OwnedFd::from(file)), &counters), counters)
}

fn of_pvir(gsi: u32) -> GsiRoute {
    GsiRoute { gsi, message: Message::fixed(300, 0x51) }
}

#[test]
fn an_entry_has_all_of_its_message() {
    let entry = entry(&of_pvir(24));
    assert_eq!((entry.gsi, entry.type_), (24, KVM_IRQ_ROUTING_MSI));
    // SAFETY: `entry` wrote the `msi` member.
    let msi = unsafe { entry.u.msi };
    assert_eq!((msi.address_lo, msi.address_hi, msi.data), (0xfee2_c000, 0x100, 0x51));
}

#[test]
fn an_entry_of_the_vmm_has_all_of_its_target() {
    let message = VmmRoute::msi(7, 0x100_fee2_c000, 0x51).entry();
    // SAFETY: `entry` wrote the `msi` member.
    let msi = unsafe { message.u.msi };
    assert_eq!((msi.address_lo, msi.address_hi, msi.data), (0xfee2_c000, 0x100, 0x51));
    let pin = VmmRoute::pin(4, 2, 5).entry();
    // SAFETY: `entry` wrote the `irqchip` member.
    let irqchip = unsafe { pin.u.irqchip };
    assert_eq!((pin.type_, irqchip.irqchip, irqchip.pin), (KVM_IRQ_ROUTING_IRQCHIP, 2, 5));
}

#[test]
fn neither_has_a_gsi_of_the_others() {
    let (routing, counters) = no_vm();
    let mut router = routing.router(24..100, &counters).unwrap();
    let refused = routing.set(99, &[VmmRoute::msi(99, 0xfee0_0000, 0x41).target]).unwrap_err();
    assert_eq!(refused.to_string(), "GSI 99 is one of 24 to 99, which are lent to pvir");
    let refused = router.set_routes(&[of_pvir(24), of_pvir(100)]).unwrap_err();
    assert_eq!(refused.to_string(), "GSI 100 is not one of 24 to 99, which are lent to pvir");
    assert!(matches!(
        routing.set(4096, &[RouteTarget::Pin { irqchip: 2, pin: 0 }]),
        Err(RoutingError::NoSuchGsi { gsi: 4096 })
    ));
    assert!(matches!(routing.router(200..300, &counters), Err(RoutingError::LentAlready { .. })));
    assert!(counters.ioctls().is_empty(), "{:?}", counters.ioctls());
    drop(router);
    assert!(matches!(routing.router(24..24, &counters), Err(RoutingError::BadRange { .. })));
    assert!(matches!(routing.router(24..4097, &counters), Err(RoutingError::BadRange { .. })));
    routing.router(24..100, &counters).unwrap();
}

#[test]
fn what_kvm_refuses_is_not_in_the_table() {
    let (routing, counters) = no_vm();
    let mut router = routing.router(24..100, &counters).unwrap();
    let refused = routing.replace(&VmmRoute::of_full_irqchip()).unwrap_err();
    assert!(
        matches!(&refused, RoutingError::Kvm { routes: 40, source } if source.raw_os_error() == Some(libc::ENOTTY))
    );
    assert_eq!(routing.routes(), []);
    assert_eq!(router.set_routes(&[of_pvir(24)]).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    assert!(routing.lock().pvir().is_empty());
    assert_eq!(counters.ioctls()["KVM_SET_GSI_ROUTING"], 2);
}

#[test]
fn more_routes_than_kvm_takes_are_no_ioctl() {
    let (routing, counters) = no_vm();
    let twice = |gsi| [VmmRoute::pin(gsi, 2, 0), VmmRoute::pin(gsi, 0, 0)];
    let routes: Vec<_> = (0..2049).flat_map(twice).collect();
    let refused = routing.replace(&routes).unwrap_err();
    assert_eq!(refused.to_string(), "4098 routes are asked for, and KVM takes 4096");
    assert!(counters.ioctls().is_empty());
}
