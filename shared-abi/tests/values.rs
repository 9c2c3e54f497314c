//! What the small functions of the contract answer, each once, so that none of them can answer anything else.

use pvir_abi::{
    Bdf, Conduits, DeliveryMode, DestinationMode, DeviceId, DeviceRecord, Discovery, EntryFlags, EntryRecord,
    Features, GuestPhysAddr, Handle, MAX_BLOCK_LEN, Operation, Pair, Routing, Status, Store, X86Route,
    block_len,
};
use zerocopy::IntoBytes;

fn device() -> DeviceId {
    DeviceId::new(1, Bdf(0x021c))
}

#[test]
fn a_block_is_its_header_and_its_records() {
    assert_eq!([0, 1, 2, 512].map(block_len), [64, 128, 192, 64 + 512 * 64]);
    assert_eq!(MAX_BLOCK_LEN, 64 + 512 * 64);
}

#[test]
fn a_handle_is_slot_and_generation() {
    let handle = Handle::new(0xffff_fff5, 0x8000_0007);
    assert_eq!(handle, Handle(0x8000_0007_ffff_fff5));
    assert_eq!((handle.slot(), handle.generation()), (0xffff_fff5, 0x8000_0007));
    assert_eq!(format!("{} {:?}", Handle::new(3, 2), Handle::new(3, 2)), "3.2 Handle(3.2)");
}

#[test]
fn an_operation_has_one_kind_of_records() {
    let all = (0..20).map(Operation);
    let entries: Vec<u16> = all.clone().filter(|o| o.takes_entries()).map(|o| o.0).collect();
    let devices: Vec<u16> = all.filter(|o| o.takes_devices()).map(|o| o.0).collect();
    assert_eq!((entries, devices), (vec![5, 6, 7, 8], vec![9, 10]));
}

#[test]
fn a_route_keeps_what_it_is_given() {
    let route = X86Route::fixed(0x1234_5678, 0x41);
    assert_eq!(
        Routing::from(route),
        Routing {
            destination: 0x1234_5678,
            vector: 0x41,
            delivery_mode: 0,
            destination_mode: 0,
            hint: 0,
            reserved: 0
        }
    );
    let other = route
        .with_delivery_mode(DeliveryMode::LOWEST_PRIORITY)
        .with_destination_mode(DestinationMode::LOGICAL)
        .with_hint(true);
    let routing = Routing::from(other);
    assert_eq!((routing.delivery_mode, routing.destination_mode, routing.hint), (1, 1, 1));
    assert_eq!(Routing::from(other.with_hint(false)).hint, 0);
}

#[test]
fn a_record_asks_for_what_it_is_made_for() {
    let query = EntryRecord::query(device(), Store::MSIX, 7);
    assert_eq!((query.device, query.store, query.index, query.count), (device(), Store::MSIX, 7, 1));
    assert_eq!((query.status, query.flags, query.handle), (Status::PENDING, 0, Handle::NONE));
    let routing = Routing::from(X86Route::fixed(1, 0x41));
    let map = EntryRecord::map(device(), Store::MSI, 0, routing);
    assert_eq!((map.routing, map.flags, map.store), (routing, 0, Store::MSI));
    let parked = EntryRecord::map_parked(device(), Store::IMS, 9);
    assert_eq!((parked.flags, parked.routing), (EntryFlags::PARKED.bits(), Routing::default()));
    assert_eq!((parked.index, parked.with_handle(Handle(5)).handle), (9, Handle(5)));
    let answer = EntryRecord { address: 0xfee0_0298, data: 3, ..query };
    assert_eq!(answer.pair(), Pair { address: 0xfee0_0298, data: 3 });
}

#[test]
fn an_address_is_shown_in_hexadecimal() {
    assert_eq!(format!("{:?}", GuestPhysAddr(0x1000)), "GPA 0x1000");
}

#[test]
fn a_device_is_shown_as_lspci_shows_it() {
    assert_eq!(format!("{:?} {:?}", device().bdf, device()), "02:03.4 0001:02:03.4");
}

#[test]
fn a_block_of_discovery_has_each_conduit_that_was_added() {
    let none = Discovery::new(Features::MSI);
    assert_eq!((none.conduits, none.msr, none.port), (Conduits::empty(), 0, 0));
    let all = none.with_conduits(Conduits::VMCALL).with_msr(0x5056_0000).with_port(0x5058);
    let all = all.with_conduits(Conduits::VMMCALL);
    let conduits = Conduits::VMCALL | Conduits::VMMCALL | Conduits::MSR | Conduits::PORT;
    assert_eq!(
        (all.conduits, all.msr, all.port, all.features),
        (conduits, 0x5056_0000, 0x5058, Features::MSI)
    );
}

#[test]
fn a_pair_is_shown_as_its_two_registers() {
    let pair = Pair { address: 0xfee0_0298, data: 3 };
    assert_eq!(format!("{pair} {pair:?}"), "0xfee00298/0x0003 0xfee00298/0x0003");
}

#[test]
fn a_text_that_is_no_address_is_told_what_one_is() {
    let error = "1:2.8".parse::<DeviceId>().unwrap_err().to_string();
    assert!(error.contains("expected SSSS:BB:DD.F"), "{error}");
}

#[test]
fn a_request_for_a_device_is_zero_but_for_its_name() {
    let record = DeviceRecord::request(device());
    assert_eq!((record.device, record.status), (device(), Status::PENDING));
    let rest = DeviceRecord { device: DeviceId::default(), status: Status::OK, ..record };
    assert!(rest.as_bytes().iter().all(|byte| *byte == 0), "{rest:?}");
}

#[test]
fn a_status_is_shown_by_its_name() {
    let shown = [Status::OK, Status::NOT_ENABLED, Status::PENDING, Status(0x777)].map(|s| format!("{s:?}"));
    assert_eq!(shown, ["OK", "NOT_ENABLED", "PENDING", "Status(0x777)"]);
    assert_eq!((Status::NO_GSI.name(), Status::PENDING.name()), (Some("NO_GSI"), None));
}
