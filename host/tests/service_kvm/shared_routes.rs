//! A VMM that has irqfds of its own beside the service's: the routes of each survive what the other changes.

use super::*;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1, kvm_irqchip,
    kvm_irqchip__bindgen_ty_1,
};
use pvir_host::kvm::{RoutingError, VmmRoute};
use std::os::fd::AsFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The VMM's own GSI with a message.
const OWN: u32 = PINS;
/// A pin of the I/O APIC, and the vector that the guest has written for it.
const PIN: u32 = 4;
const VECTOR_OF_PIN: u8 = 0x31;

fn own_message(apic_id: u32, vector: u8) -> VmmRoute {
    let address = u64::from(apic_id >> 8) << 40 | 0xfee0_0000 | u64::from(apic_id & 0xff) << 12;
    VmmRoute::msi(OWN, address, vector.into())
}

/// An irqfd of the VMM's own.
fn irqfd(fixture: &KvmFixture, gsi: u32) -> EventFd {
    let eventfd = EventFd::new(EFD_NONBLOCK).unwrap();
    fixture.vm.register_irqfd(&eventfd, gsi).unwrap();
    eventfd
}

/// The guest has set the pin up: edge-triggered, not masked, to the vCPU with APIC id 0.
fn set_up_pin(fixture: &KvmFixture) {
    const MASKED: kvm_ioapic_state__bindgen_ty_1 = kvm_ioapic_state__bindgen_ty_1 { bits: 1 << 16 };
    let mut ioapic =
        kvm_ioapic_state { base_address: 0xfec0_0000, redirtbl: [MASKED; 24], ..Default::default() };
    ioapic.redirtbl[PIN as usize].bits = VECTOR_OF_PIN.into();
    let chip = kvm_irqchip {
        chip_id: KVM_IRQCHIP_IOAPIC,
        chip: kvm_irqchip__bindgen_ty_1 { ioapic },
        ..Default::default()
    };
    fixture.vm.set_irqchip(&chip).unwrap();
}

/// An eventfd of whatever type.
trait Signal {
    fn signal(&self);
}

impl Signal for EventFd {
    fn signal(&self) {
        self.write(1).unwrap();
    }
}

impl Signal for pvir_host::eventfd::EventFd {
    fn signal(&self) {
        self.signal().unwrap();
    }
}

/// Signals each, and looks whether exactly these vectors arrive.
fn each_arrives(fixture: &KvmFixture, own: &[&dyn Signal], raised: &[u32], expected: &[(u32, u8)]) {
    own.iter().for_each(|eventfd| eventfd.signal());
    raised.iter().for_each(|index| fixture.device.raise(*index));
    fixture.assert_arrives(expected);
    fixture.assert_nothing_more(expected);
    fixture.take_requested();
}

fn map(fixture: &KvmFixture, index: u32, apic_id: u32, vector: u8) -> EntryRecord {
    let mapped = fixture.one(Operation::MAP, routed(index, apic_id, vector));
    fixture.program(index, mapped.pair());
    mapped
}

fn unmap(fixture: &KvmFixture, mapped: &EntryRecord) {
    let record = EntryRecord::query(device(), Store::MSIX, mapped.index).with_handle(mapped.handle);
    fixture.one(Operation::UNMAP, record);
}

#[test]
fn routes_of_the_vmm_and_of_the_service_survive_each_others_changes() {
    let Some(fixture) = fixture() else { return };
    fixture.routing.replace(&[own_message(1, 0x41)]).unwrap();
    let own = irqfd(&fixture, OWN);
    each_arrives(&fixture, &[&own], &[], &[(1, 0x41)]);
    let first = map(&fixture, 0, 0, 0x51);
    each_arrives(&fixture, &[&own], &[0], &[(0, 0x51), (1, 0x41)]);
    let second = map(&fixture, 1, 300, 0x52);
    fixture.routing.replace(&[own_message(300, 0x42)]).unwrap();
    each_arrives(&fixture, &[&own], &[0, 1], &[(0, 0x51), (300, 0x42), (300, 0x52)]);
    fixture.one(Operation::RETARGET, routed(0, 1, 0x53).with_handle(first.handle));
    each_arrives(&fixture, &[&own], &[0, 1], &[(1, 0x53), (300, 0x42), (300, 0x52)]);
    unmap(&fixture, &second);
    fixture.routing.set(OWN, &[own_message(0, 0x43).target]).unwrap();
    each_arrives(&fixture, &[&own], &[0], &[(0, 0x43), (1, 0x53)]);
    fixture.service.shut_down();
    each_arrives(&fixture, &[&own], &[], &[(0, 0x43)]);
    assert_eq!(fixture.ioctls("KVM_SET_GSI_ROUTING"), 8, "one for each change");
}

#[test]
fn pins_of_the_kernels_io_apic_survive_too() {
    let Some(fixture) = fixture_on(Irqchip::Full, None, 0) else { return };
    set_up_pin(&fixture);
    let mut routes = VmmRoute::of_full_irqchip();
    routes.push(own_message(1, 0x41));
    fixture.routing.replace(&routes).unwrap();
    let (pin, own) = (pvir_host::eventfd::EventFd::new().unwrap(), irqfd(&fixture, OWN));
    fixture.routing.attach_irqfd(pin.as_fd(), PIN).unwrap();
    let of_pin = (0, VECTOR_OF_PIN);
    each_arrives(&fixture, &[&pin, &own], &[], &[of_pin, (1, 0x41)]);
    let mapped = map(&fixture, 0, 300, 0x51);
    each_arrives(&fixture, &[&pin, &own], &[0], &[of_pin, (1, 0x41), (300, 0x51)]);
    fixture.one(Operation::RETARGET, routed(0, 1, 0x52).with_handle(mapped.handle));
    each_arrives(&fixture, &[&pin, &own], &[0], &[of_pin, (1, 0x41), (1, 0x52)]);
    fixture.routing.set(OWN, &[own_message(300, 0x44).target]).unwrap();
    each_arrives(&fixture, &[&pin, &own], &[0], &[of_pin, (1, 0x52), (300, 0x44)]);
    unmap(&fixture, &mapped);
    each_arrives(&fixture, &[&pin, &own], &[0], &[of_pin, (300, 0x44)]);
    fixture.routing.detach_irqfd(pin.as_fd(), PIN).unwrap();
    each_arrives(&fixture, &[&pin, &own], &[], &[(300, 0x44)]);
    let refused = fixture.routing.attach_irqfd(pin.as_fd(), PINS + OWN_GSIS).unwrap_err();
    assert!(matches!(refused, RoutingError::GsiOfPvir { .. }), "{refused:?}");
}

/// What this VMM did not set up through the table is gone with the first MAP: KVM replaces the whole table.
#[test]
fn a_full_irqchips_own_routes_end_with_the_first_map_where_the_vmm_does_not_set_them() {
    let Some(fixture) = fixture_on(Irqchip::Full, None, 0) else { return };
    set_up_pin(&fixture);
    let pin = irqfd(&fixture, PIN);
    each_arrives(&fixture, &[&pin], &[], &[(0, VECTOR_OF_PIN)]);
    map(&fixture, 0, 1, 0x51);
    each_arrives(&fixture, &[&pin], &[0], &[(1, 0x51)]);
}

#[test]
fn what_kvm_refuses_changes_neither_part() {
    let Some(fixture) = fixture() else { return };
    fixture.routing.replace(&[own_message(1, 0x41)]).unwrap();
    let own = irqfd(&fixture, OWN);
    map(&fixture, 0, 0, 0x51);
    // Two messages for one GSI.
    let twice = [own_message(1, 0x42), own_message(0, 0x43)];
    let refused = fixture.routing.replace(&twice).unwrap_err();
    assert!(
        matches!(&refused, RoutingError::Kvm { routes: 3, source } if source.raw_os_error() == Some(libc::EINVAL)),
        "{refused:?}"
    );
    assert_eq!(fixture.routing.routes(), [own_message(1, 0x41)]);
    each_arrives(&fixture, &[&own], &[0], &[(0, 0x51), (1, 0x41)]);
    map(&fixture, 1, 300, 0x52);
    each_arrives(&fixture, &[&own], &[0, 1], &[(0, 0x51), (1, 0x41), (300, 0x52)]);
}
