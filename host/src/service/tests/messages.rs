//! MSI with several messages: one IRTE for the guest, a line for each message.

use super::*;
use crate::fake::{BackendCall, CallKind};
use pvir_abi::EntryState;

const FIRST: Entry = Entry { device: 2, store: Store::MSI, index: 0 };

/// What arrives when each of `count` messages is sent once.
fn sent(fixture: &ServiceFixture, count: u32) -> Vec<(u32, u8)> {
    (0..count).for_each(|message| fixture.raise_message(message));
    fixture.delivered()
}

fn to(destination: u32, vectors: std::ops::Range<u8>) -> Vec<(u32, u8)> {
    vectors.map(|vector| (destination, vector)).collect()
}

#[test]
fn each_message_arrives_with_its_own_vector() {
    // M10
    for count in [1u8, 2, 4, 8, 16] {
        let (fixture, vectors) = (ServiceFixture::enabled(), 0x60..0x60 + count);
        let count = u32::from(count);
        let record = fixture.map(&[messages(count, 300, 0x60)]).records[0];
        assert_eq!((record.status, record.state, record.data % count), (Status::OK, 0, 0));
        assert_eq!(sent(&fixture, count), to(300, vectors));
        assert_eq!(fixture.features().irtes, count);
        assert_eq!(fixture.unmap(&[named(&record)]).status, Status::OK);
        assert_eq!(sent(&fixture, count), []);
        fixture.assert_baseline();
    }
}

#[test]
fn a_map_of_eight_is_one_routing_eight_irqfds_and_one_start() {
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[messages(8, 0, 0x60)]).records[0];
    let attached = (FIRST_GSI..FIRST_GSI + 8).map(BackendCall::Attach);
    let device = [BackendCall::Start(FIRST, 8), BackendCall::Mask(FIRST), BackendCall::Pair(FIRST)];
    let expected: Vec<_> = [BackendCall::SetRoutes(8)].into_iter().chain(attached).chain(device).collect();
    assert_eq!(fixture.platform.lock().calls(), expected);
    fixture.unmap(&[named(&record)]);
    let detached = (FIRST_GSI..FIRST_GSI + 8).map(BackendCall::Detach);
    let expected: Vec<_> = [BackendCall::Stop(FIRST, 8)]
        .into_iter()
        .chain(detached)
        .chain([BackendCall::SetRoutes(0)])
        .collect();
    assert_eq!(fixture.platform.lock().calls(), expected);
}

#[test]
fn a_retarget_moves_all_messages_with_one_routing() {
    // R5, M2
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[messages(8, 0, 0x60)]).records[0];
    let answer = fixture.retarget(&[moved(&record, 1, 0x88)]).records[0];
    assert_eq!(fixture.platform.lock().calls(), [BackendCall::SetRoutes(8)]);
    assert_eq!((answer.status, answer.pair()), (Status::OK, record.pair()));
    assert_eq!(sent(&fixture, 8), to(1, 0x88..0x90));
    assert_eq!(statuses(&fixture.retarget(&[moved(&record, 1, 0x8c)]).records), [Status::BAD_VECTOR]);
}

#[test]
fn parked_messages_are_held_each_for_itself() {
    // M6, R1, R3
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked_messages(4)]).records[0];
    assert_eq!(record.state, EntryState::PARKED.bits());
    [0, 0, 0, 2].into_iter().for_each(|message| fixture.raise_message(message));
    assert_eq!(fixture.delivered(), []);
    fixture.retarget(&[moved(&record, 1, 0x44)]);
    assert_eq!(fixture.platform.lock().count(CallKind::Attach), 4);
    assert_eq!(fixture.delivered(), [(1, 0x44), (1, 0x46)]);
    fixture.retarget(&[park(&record)]);
    assert_eq!(fixture.platform.lock().count(CallKind::Detach), 4);
    assert_eq!(fixture.platform.lock().count(CallKind::SetRoutes), 1);
    assert_eq!(sent(&fixture, 4), []);
    fixture.retarget(&[moved(&record, 300, 0x50)]);
    assert_eq!(fixture.delivered(), to(300, 0x50..0x54));
}

#[test]
fn counts_that_an_msi_does_not_have_are_refused() {
    // M10
    let fixture = ServiceFixture::enabled();
    for count in [0, 3, 5, 6, 7, 12, 15, 17, 32, 64, 1 << 31, u32::MAX] {
        let before = fixture.state();
        assert_eq!(statuses(&fixture.map(&[messages(count, 0, 0x40)]).records), [Status::BAD_MESSAGE_COUNT]);
        assert_eq!(fixture.state(), before, "{count}");
    }
    for (count, vector) in [(2, 0x41), (4, 0x42), (8, 0x44), (16, 0x48), (16, 0xf8), (2, 31)] {
        let asked = messages(count, 0, vector);
        assert_eq!(statuses(&fixture.map(&[asked]).records), [Status::BAD_VECTOR], "{count} at {vector}");
    }
    assert_eq!(fixture.map(&[messages(16, 0, 0xf0)]).status, Status::OK);
}

#[test]
fn another_count_is_another_entry() {
    // M5, R5, H2, Q1
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[messages(4, 0, 0x40)]).records[0];
    let again = fixture.map(&[messages(4, 0, 0x40), messages(2, 0, 0x40), messages(8, 0, 0x40)]);
    assert_eq!(statuses(&again.records), [Status::OK, Status::ALREADY_MAPPED, Status::ALREADY_MAPPED]);
    assert_eq!(again.records[0], EntryRecord { state: EntryState::EXISTING.bits(), ..mapped });
    let other = EntryRecord { count: 2, ..mapped };
    let before = fixture.state();
    for answer in
        [fixture.unmap(&[named(&other)]), fixture.retarget(&[park(&other)]), fixture.query(&[named(&other)])]
    {
        assert_eq!(statuses(&answer.records), [Status::HANDLE_MISMATCH]);
    }
    assert_eq!(statuses(&fixture.query(&[named_by_entry(&other)]).records), [Status::STALE_HANDLE]);
    assert_eq!(fixture.query(&[named_by_entry(&mapped)]).records[0], EntryRecord { state: 0, ..mapped });
    assert_eq!(fixture.state(), before);
}

#[test]
fn a_pair_that_the_messages_cannot_share_is_not_given() {
    // M10
    let fixture = ServiceFixture::new();
    fixture.add(3, FakeDevice::with_msi(fixture.platform.clone(), 3, 8).with_odd_pairs());
    fixture.enable();
    let asked = |count| EntryRecord { device: device(3), ..messages(count, 0, 0x40) };
    assert_eq!(statuses(&fixture.map(&[asked(4)]).records), [Status::BAD_PAIR]);
    fixture.assert_baseline();
    assert_eq!(statuses(&fixture.map(&[asked(1)]).records), [Status::OK]);
}

#[test]
fn a_host_with_too_few_vectors_starts_none_of_them() {
    // M10: all messages or none.
    let fixture = ServiceFixture::enabled();
    fixture.platform.lock().limit_vectors(10);
    let answer = fixture.map(&[messages(16, 0, 0x40), routed(0, 0, 0, 0x60)]);
    assert_eq!(statuses(&answer.records), [Status::NO_HOST_VECTOR, Status::OK]);
    assert_eq!(fixture.platform.lock().footprint().started.len(), 1);
    assert_eq!(fixture.map(&[messages(8, 0, 0x40)]).status, Status::OK);
}

#[test]
fn against_quotas_they_count_as_many() {
    // M10
    let quota = |per_device, per_vm| {
        let fixture =
            ServiceFixture::with(&Config { max_irtes_per_device: per_device, max_irtes: per_vm, ..config() });
        fixture.enable();
        let refused = fixture.map(&[messages(16, 0, 0x40)]);
        assert_eq!(statuses(&refused.records), [Status::NO_QUOTA], "{per_device} {per_vm}");
        fixture.assert_baseline();
        let mapped = fixture.map(&[messages(8, 0, 0x40)]).records[0];
        let reported =
            fixture.call(Operation::DEVICE_INFO, CallFlags::empty(), &[DeviceRecord::request(device(2))]);
        assert_eq!((reported.records[0].irtes, fixture.features().irtes), (8, 8));
        assert_eq!(fixture.free_gsis(), per_vm.min(4072) - 8);
        fixture.unmap(&[named(&mapped)]);
        fixture.assert_baseline();
    };
    quota(15, 4072);
    quota(2048, 15);
}

#[test]
fn one_message_that_does_not_attach_takes_the_others_with_it() {
    let fixture = ServiceFixture::enabled();
    for after in 0..8 {
        fixture.platform.lock().faults.fail_once(Some(CallKind::Attach), after, libc::EMFILE);
        assert_eq!(statuses(&fixture.map(&[messages(8, 0, 0x40)]).records), [Status::HOST_ERROR]);
        fixture.assert_baseline();
    }
    let record = fixture.map(&[parked_messages(8)]).records[0];
    let before = fixture.platform.lock().footprint();
    for after in 0..8 {
        fixture.platform.lock().faults.fail_once(Some(CallKind::Attach), after, libc::EMFILE);
        assert_eq!(statuses(&fixture.retarget(&[moved(&record, 1, 0x40)]).records), [Status::HOST_ERROR]);
        assert_eq!(fixture.platform.lock().footprint(), before, "{after}");
    }
    fixture.retarget(&[moved(&record, 1, 0x40)]);
    for after in 0..8 {
        fixture.platform.lock().faults.fail_once(Some(CallKind::Detach), after, libc::EIO);
        assert_eq!(statuses(&fixture.retarget(&[park(&record)]).records), [Status::HOST_ERROR]);
        assert_eq!(sent(&fixture, 8), to(1, 0x40..0x48), "{after}");
    }
}

#[test]
fn a_message_that_does_not_come_off_again_is_made_good_later() {
    // Attaching fails half-way, and so does taking back what was attached.
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked_messages(4)]).records[0];
    let fail = |kind, after| fixture.platform.lock().faults.fail_once(Some(kind), after, libc::EIO);
    fail(CallKind::Attach, 2);
    fail(CallKind::Detach, 1);
    assert_eq!(statuses(&fixture.retarget(&[moved(&record, 1, 0x40)]).records), [Status::HOST_ERROR]);
    assert_eq!(fixture.query(&[named(&record)]).records[0].state, EntryState::PARKED.bits());
    assert_eq!(fixture.retarget(&[park(&record)]).status, Status::OK);
    assert!(fixture.platform.lock().footprint().irqfds.is_empty());
    fixture.raise_message(1);
    assert_eq!(fixture.delivered(), []);
    assert_eq!(fixture.retarget(&[moved(&record, 300, 0x50)]).status, Status::OK);
    assert_eq!(fixture.delivered(), [(300, 0x51)]);
    fixture.unmap(&[named(&record)]);
    fixture.assert_baseline();
}

#[test]
fn the_history_has_a_line_for_each_message() {
    let fixture = ServiceFixture::enabled().with_history();
    let mapped = fixture.map(&[messages(4, 1, 0x40)]).records[0];
    [1, 1, 3].into_iter().for_each(|message| fixture.raise_message(message));
    fixture.unmap(&[named(&mapped)]);
    let reported: Vec<_> = fixture
        .service
        .history()
        .into_iter()
        .map(|record| {
            let route = record.irte.route.unwrap();
            (record.irte.message, record.irte.pair.data, route.vector(), record.host.unwrap().count.unwrap())
        })
        .collect();
    let data = mapped.data;
    assert_eq!(
        reported,
        [(0, data, 0x40, 0), (1, data + 1, 0x41, 2), (2, data + 2, 0x42, 0), (3, data + 3, 0x43, 1)]
    );
}
