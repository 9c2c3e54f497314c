//! Every operation as it should be used.

use super::*;
use pvir_abi::{EntryState, EventArea, Stores};
use zerocopy::FromZeros;

#[test]
fn features_tells_what_discovery_shows() {
    // D3, F1
    let fixture = ServiceFixture::new();
    let answer = fixture.call(Operation::FEATURES, CallFlags::empty(), &[FeaturesRecord::request()]);
    let shown = fixture.service.discovery();
    let record = answer.records[0];
    assert_eq!((answer.status, answer.header.done, answer.header.epoch), (Status::OK, 1, 0));
    assert_eq!((record.oldest, record.newest), (shown.oldest, shown.newest));
    assert_eq!((record.features, record.conduits), (shown.features.bits(), shown.conduits.bits()));
    assert_eq!((record.max_records, record.max_apic_id), (512, 300));
    assert_eq!((record.enabled, record.irtes, record.devices, record.max_irtes), (0, 0, 3, 4072));
}

#[test]
fn features_is_understood_with_any_version() {
    let fixture = ServiceFixture::new();
    let header = Header::request(Version(99), Operation::FEATURES, CallFlags::empty(), 1);
    assert_eq!(fixture.send(header, &[FeaturesRecord::request()]).status, Status::OK);
}

#[test]
fn device_info_tells_what_the_device_can() {
    // I2
    let fixture = ServiceFixture::enabled();
    fixture.map(&batch(0..3));
    let before = fixture.state();
    let asked = [0, 1, 2].map(|number| DeviceRecord::request(device(number)));
    let answer = fixture.call(Operation::DEVICE_INFO, CallFlags::empty(), &asked);
    let reported: Vec<_> = answer
        .records
        .iter()
        .map(|r| (r.status, r.msix_entries, r.ims_entries, r.msi_messages, r.irtes))
        .collect();
    assert_eq!(reported, [(Status::OK, 64, 64, 0, 3), (Status::OK, 8, 4, 0, 0), (Status::OK, 0, 0, 16, 0)]);
    assert_eq!(answer.records[0].stores, (Stores::MSIX | Stores::IMS).bits());
    assert_eq!(answer.records[2].stores, Stores::MSI.bits());
    assert_eq!(answer.records[0].max_irtes, 2048);
    assert_eq!(fixture.state(), before);
}

#[test]
fn enable_opens_every_table_and_fills_the_event_area() {
    // E4, E8, V1, V5
    let fixture = ServiceFixture::new();
    fixture.ram.write_slice(&[0xaa; 64], GuestAddress(AREA)).unwrap();
    let asked = EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)));
    let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    let mut area = EventArea::new_zeroed();
    fixture.ram.read_slice(area.as_mut_bytes(), GuestAddress(AREA)).unwrap();
    assert_eq!((answer.status, answer.records[0].status, answer.header.done), (Status::OK, Status::OK, 1));
    assert_ne!(answer.header.epoch, 0);
    assert_eq!(area, EventArea { epoch: answer.header.epoch, ..EventArea::new_zeroed() });
    assert_eq!(fixture.platform.lock().footprint().open.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(fixture.features().enabled, Service::FEATURES.bits());
}

#[test]
fn a_mapped_interrupt_arrives_as_routed() {
    // M1, M3
    let fixture = ServiceFixture::enabled();
    let answer = fixture.map(&[routed(0, 3, 300, 0x51)]);
    let record = answer.records[0];
    assert_eq!((answer.status, record.status, answer.header.done), (Status::OK, Status::OK, 1));
    assert_eq!(record.state, EntryState::MASKED.bits());
    assert_ne!(record.handle, Handle::NONE);
    assert_eq!(fixture.platform.lock().footprint().started[&place(0, 3)], (true, record.pair()));
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x51)]);
}

#[test]
fn the_same_map_again_answers_the_same_and_touches_nothing() {
    // M5, H1
    let fixture = ServiceFixture::enabled();
    let first = fixture.map(&[routed(0, 3, 1, 0x51)]).records[0];
    fixture.unmask(0, 3);
    let again = fixture.map(&[routed(0, 3, 1, 0x51)]);
    assert_eq!(again.records[0], EntryRecord { state: EntryState::EXISTING.bits(), ..first });
    assert!(fixture.platform.lock().calls().is_empty());
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x51)], "the mask is left alone");
}

#[test]
fn another_routing_of_a_mapped_entry_is_refused() {
    // M5
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 1, 0x51)]);
    let before = fixture.state();
    let others = [routed(0, 3, 0, 0x51), routed(0, 3, 1, 0x52), parked(0, 3)];
    assert_eq!(statuses(&fixture.map(&others).records), [Status::ALREADY_MAPPED; 3]);
    assert_eq!(fixture.state(), before);
}

#[test]
fn a_retarget_moves_the_interrupt_and_keeps_the_pair() {
    // M2, R1, R2, R4
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmask(0, 3);
    let answer = fixture.retarget(&[moved(&mapped, 300, 0x77)]);
    let record = answer.records[0];
    assert_eq!((answer.status, record.status, record.state), (Status::OK, Status::OK, 0));
    assert_eq!((record.handle, record.pair()), (mapped.handle, mapped.pair()));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x77)]);
}

#[test]
fn after_unmap_nothing_arrives_and_the_handle_is_stale() {
    // U1, U2, H2
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    fixture.unmask(0, 3);
    let answer = fixture.unmap(&[named(&mapped)]);
    fixture.raise(0, 3);
    assert_eq!((answer.status, answer.records[0].status), (Status::OK, Status::OK));
    assert_eq!((answer.records[0].pair(), answer.records[0].state), (pvir_abi::Pair::default(), 0));
    assert_eq!(fixture.delivered(), []);
    fixture.assert_baseline();
    let stale = [
        fixture.unmap(&[named(&mapped)]),
        fixture.query(&[named(&mapped)]),
        fixture.retarget(&[park(&mapped)]),
    ];
    assert!(stale.iter().all(|answer| answer.records[0].status == Status::STALE_HANDLE));
}

#[test]
fn a_handle_is_never_given_twice() {
    // H1
    let fixture = ServiceFixture::enabled();
    let mut given = std::collections::BTreeSet::new();
    for round in 0..300 {
        let record = fixture.map(&[routed(0, round % 4, 0, 0x51)]).records[0];
        assert!(given.insert(record.handle) && record.handle != Handle::NONE);
        fixture.unmap(&[named(&record)]);
    }
}

#[test]
fn query_says_what_map_and_the_last_retarget_said() {
    // Q1, Q2
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51)]).records[0];
    let moved = fixture.retarget(&[moved(&mapped, 300, 0x77)]).records[0];
    let before = fixture.platform.lock().footprint();
    let answer = fixture.query(&[query_of(0, 3), named(&mapped), query_of(0, 4)]);
    assert_eq!(answer.records[0], moved);
    assert_eq!(answer.records[1], moved);
    assert_eq!(answer.records[2].status, Status::STALE_HANDLE);
    assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 2));
    assert_eq!(fixture.platform.lock().footprint(), before);
}

#[test]
fn disable_gives_everything_back() {
    // X1, E8
    let fixture = ServiceFixture::enabled();
    let epoch = fixture.map(&batch(0..1)).header.epoch;
    let mapped = fixture.map(&batch(0..10)).records;
    assert_eq!(fixture.disable(), Status::OK);
    fixture.assert_baseline();
    assert_eq!(fixture.platform.lock().footprint(), Footprint::default());
    assert_eq!(fixture.unmap(&[named(&mapped[0])]).status, Status::NOT_ENABLED);
    fixture.enable();
    let stale = fixture.query(&[named(&mapped[0])]);
    assert_eq!(stale.records[0].status, Status::STALE_HANDLE);
    assert!(stale.header.epoch > epoch);
}

#[test]
fn a_message_of_the_msi_capability_is_mapped_without_a_mask() {
    // M3, M7
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[messages(1, 1, 0x60)]).records[0];
    assert_eq!((record.status, record.state), (Status::OK, 0));
    fixture.raise_message(0);
    assert_eq!(fixture.delivered(), [(1, 0x60)]);
}

#[test]
fn the_status_of_the_last_call_is_kept_for_each_vcpu() {
    // C3
    let fixture = ServiceFixture::new();
    let status = fixture.service.call(2, 0, GuestPhysAddr(1));
    assert_eq!((status, fixture.service.last_status(2)), (Status::UNALIGNED, Status::UNALIGNED));
    assert_eq!(fixture.service.last_status(0), Status::PENDING);
    assert_eq!(fixture.service.last_status(99), Status::PENDING);
    assert_eq!(fixture.service.call(99, 0, GuestPhysAddr(1)), Status::UNALIGNED);
}

#[test]
fn the_answer_keeps_what_was_asked() {
    // B3
    let fixture = ServiceFixture::enabled();
    let asked = routed(0, 3, 300, 0x51);
    let got = fixture.map(&[asked]).records[0];
    let input_of = |r: EntryRecord| EntryRecord {
        status: Status::OK,
        handle: Handle::NONE,
        address: 0,
        data: 0,
        state: 0,
        ..r
    };
    assert_eq!(input_of(got), input_of(asked));
}
