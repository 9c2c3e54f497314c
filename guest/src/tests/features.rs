//! Every feature of stores and routings: what it allows when it is taken, and that it is refused when it is not.

use super::*;
use crate::Error;
use pvir_abi::{DeliveryMode, DestinationMode, DeviceFlags, Operation, Status, X86Route};

const EVERYTHING: Features =
    Features::all().difference(Features::EPOCH.union(Features::NOTIFY).union(Features::ATTACH));
const LOGICAL: DestinationMode = DestinationMode::LOGICAL;
const LOWEST: DeliveryMode = DeliveryMode::LOWEST_PRIORITY;

fn enabled_for(device: FakeDevice, features: Features) -> (FakeHost, Remapping<FakeHost>) {
    let host = FakeHost::new(&[device]);
    let remapping = negotiated(&host, 4).enable(EnableOptions::new(features)).unwrap();
    (host, remapping)
}

fn refused(remapping: &Remapping<FakeHost>, request: MapRequest) -> Status {
    match remapping.map(request).unwrap_err() {
        Error::Entry { operation: Operation::MAP, status, .. } => status.status(),
        other => panic!("{other}"),
    }
}

fn route(
    destination: u32,
    delivery_mode: DeliveryMode,
    destination_mode: DestinationMode,
    hint: bool,
) -> Target {
    let route = X86Route::fixed(destination, 0x51).with_delivery_mode(delivery_mode);
    Target::Apic(route.with_destination_mode(destination_mode).with_hint(hint))
}

fn to(target: Target) -> MapRequest {
    MapRequest::new(Origin::msix(DEVICE, 0), target)
}

#[test]
fn a_routing_of_every_mode_is_mapped_moved_and_asked_for() {
    let (_host, remapping) = enabled_for(FakeDevice::new(DEVICE, 10), EVERYTHING);
    let fixed = DeliveryMode::FIXED;
    let targets = [
        // cluster 1, member 2: APIC id 18
        route(1 << 16 | 1 << 2, fixed, LOGICAL, false),
        // cluster 3, members 0 to 3
        route(3 << 16 | 0xf, LOWEST, LOGICAL, false),
        route(3 << 16 | 0xf, fixed, LOGICAL, true),
        route(7, LOWEST, DestinationMode::PHYSICAL, false),
        route(7, fixed, DestinationMode::PHYSICAL, true),
        route(7, LOWEST, DestinationMode::PHYSICAL, true),
    ];
    let mut irte = remapping.map(to(Target::fixed(0, 0x50))).unwrap();
    for target in targets {
        remapping.retarget(&mut irte, target).unwrap();
        assert_eq!(remapping.verify(&irte).unwrap().target, target);
    }
    remapping.unmap(irte).unwrap();
    for target in targets {
        let irte = remapping.map(to(target)).unwrap();
        assert_eq!(irte.target(), target);
        assert!(remapping.map(to(target)).unwrap().is_existing());
        remapping.unmap(irte).unwrap();
    }
}

#[test]
fn a_destination_that_names_nobody_or_several_is_refused() {
    let (_host, remapping) = enabled_for(FakeDevice::new(DEVICE, 10), EVERYTHING);
    let fixed = DeliveryMode::FIXED;
    let physical = DestinationMode::PHYSICAL;
    let cases = [
        (route(3 << 16 | 3, fixed, LOGICAL, false), Status::AMBIGUOUS_DESTINATION),
        (route(3 << 16, fixed, LOGICAL, false), Status::BAD_DESTINATION),
        (route(4 << 16 | 1, LOWEST, LOGICAL, true), Status::BAD_DESTINATION),
        (route(u32::MAX, LOWEST, LOGICAL, true), Status::BROADCAST),
        (route(u32::MAX, fixed, physical, false), Status::BROADCAST),
        (route(0xff, fixed, physical, false), Status::BROADCAST),
        // in logical mode members 0 to 7 of cluster 0
        (route(0xff, fixed, LOGICAL, false), Status::AMBIGUOUS_DESTINATION),
        (route(64, fixed, physical, false), Status::BAD_DESTINATION),
        (route(1, DeliveryMode::NMI, physical, false), Status::BAD_DELIVERY_MODE),
        (route(1, DeliveryMode(3), physical, false), Status::BAD_DELIVERY_MODE),
        (route(1, fixed, DestinationMode(2), false), Status::BAD_DESTINATION_MODE),
    ];
    for (target, status) in cases {
        assert_eq!(refused(&remapping, to(target)), status, "{target:?}");
    }
    assert!(remapping.map(to(route(0xff, LOWEST, LOGICAL, false))).is_ok());
}

#[test]
fn what_was_not_taken_is_refused() {
    let device = FakeDevice::new(DEVICE, 10);
    let physical = DestinationMode::PHYSICAL;
    let cases = [
        (
            Features::LOGICAL_DESTINATION,
            to(route(1, DeliveryMode::FIXED, LOGICAL, false)),
            Status::BAD_DESTINATION_MODE,
        ),
        (Features::LOWEST_PRIORITY, to(route(1, LOWEST, physical, false)), Status::BAD_DELIVERY_MODE),
        (
            Features::REDIRECTION_HINT,
            to(route(1, DeliveryMode::FIXED, physical, true)),
            Status::BAD_DESTINATION_MODE,
        ),
        (
            Features::IMS,
            MapRequest::new(Origin::ims(DEVICE, 0), Target::fixed(1, 0x51)),
            Status::STORE_UNSUPPORTED,
        ),
        (Features::MSIX, to(Target::fixed(1, 0x51)), Status::STORE_UNSUPPORTED),
        (Features::PARKING, to(Target::Parked), Status::BAD_FLAGS),
    ];
    for (feature, request, status) in cases {
        let (_host, without) = enabled_for(device, EVERYTHING.difference(feature));
        assert_eq!(refused(&without, request), status, "{feature:?}");
        let (_host, with) = enabled_for(device, EVERYTHING);
        assert!(with.map(request).is_ok(), "{feature:?}");
    }
}

#[test]
fn several_messages_need_their_feature_and_an_aligned_vector() {
    let device = FakeDevice::with_msi(DEVICE, 16);
    let block = |count, vector| MapRequest::new(Origin::msi(DEVICE, count), Target::fixed(1, vector));
    let (_host, single) = enabled_for(device, Features::MSI);
    assert_eq!(refused(&single, block(2, 0x40)), Status::BAD_MESSAGE_COUNT);
    assert!(single.map(block(1, 0x41)).is_ok());
    let (host, multi) = enabled_for(device, Features::MSI | Features::MSI_MULTI);
    for count in [0, 3, 32, 64] {
        assert_eq!(refused(&multi, block(count, 0x40)), Status::BAD_MESSAGE_COUNT);
    }
    for (count, vector) in [(2, 0x41), (4, 0x42), (8, 0x44), (16, 0x48), (16, 0x10)] {
        assert_eq!(refused(&multi, block(count, vector)), Status::BAD_VECTOR);
    }
    let mut irte = multi.map(block(16, 0x40)).unwrap();
    assert_eq!((host.held(), irte.pair().data % 16), (1, 0));
    let error = multi.retarget(&mut irte, Target::fixed(2, 0x48)).unwrap_err();
    assert!(matches!(error, Error::Entry { status, .. } if status.status() == Status::BAD_VECTOR));
    multi.retarget(&mut irte, Target::fixed(2, 0x50)).unwrap();
    multi.unmap(irte).unwrap();
}

#[test]
fn all_messages_count_against_the_quota() {
    let device = FakeDevice { max_irtes: 7, ..FakeDevice::with_msi(DEVICE, 16) };
    let (_host, remapping) = enabled_for(device, Features::MSI | Features::MSI_MULTI);
    let block = |count| MapRequest::new(Origin::msi(DEVICE, count), Target::fixed(1, 0x40));
    assert_eq!(refused(&remapping, block(8)), Status::NO_QUOTA);
    let irte = remapping.map(block(4)).unwrap();
    let mut info = [Err(crate::EntryError::NotAsked)];
    remapping.device_info(&[DEVICE], &mut info).unwrap();
    assert_eq!(info[0].unwrap().irtes, 4);
    remapping.unmap(irte).unwrap();
}

#[test]
fn an_ims_entry_and_the_msix_entry_behind_it_exclude_each_other() {
    let device = FakeDevice::new(DEVICE, 10);
    let ims = |index| MapRequest::new(Origin::ims(DEVICE, index), Target::fixed(1, 0x60));
    let table = |index| MapRequest::new(Origin::msix(DEVICE, index), Target::fixed(1, 0x61));
    let (_host, remapping) = enabled_for(device, EVERYTHING);
    let irte = remapping.map(ims(2)).unwrap();
    assert_eq!(refused(&remapping, table(7)), Status::BACKING_IN_USE);
    let entry = remapping.map(table(9)).unwrap();
    assert_eq!(refused(&remapping, ims(0)), Status::BACKING_IN_USE);
    remapping.unmap(irte).unwrap();
    assert!(remapping.map(table(7)).is_ok());
    remapping.unmap(entry).unwrap();
    assert!(remapping.map(ims(0)).is_ok());
    // An emulated device has both.
    let emulated = FakeDevice { flags: device.flags.union(DeviceFlags::EMULATED), ..device };
    let (_host, remapping) = enabled_for(emulated, EVERYTHING);
    let _ims = remapping.map(ims(2)).unwrap();
    assert!(remapping.map(table(7)).is_ok());
}
