//! ATTACH and DETACH: a device at a time, and nothing that it raises is lost (A1 to A8).

use super::*;
use crate::fake::{BackendCall, CallKind};
use crate::trapped::StoreArea;
use pvir_abi::{AttachRecord, DeviceFlags, Refusal};

const ENABLE: u16 = 1 << 15;
/// ENOSPC and others are told apart elsewhere.
const EIO: i32 = libc::EIO;

impl ServiceFixture {
    /// Enabled, with no device handed over. Entries 2, 3 and 5 of device 0 were in use before: 2 is masked and pending,
    /// 3 is live, 5 is pending in the device.
    fn by_device() -> Self {
        let fixture = Self::new();
        fixture.control(0, ENABLE);
        fixture.live(0, 2, 1, 0x51);
        fixture.live(0, 3, 300, 0x52);
        fixture.enable_by_device();
        fixture.trapped_mask(0, 2, true);
        fixture.raise(0, 2);
        fixture.raise(0, 5);
        assert_eq!((fixture.pending(0), fixture.delivered()), (1 << 2 | 1 << 5, vec![]), "A1: T1 goes on");
        fixture
    }

    fn enable_by_device(&self) {
        let asked = EnableRecord::request(Service::FEATURES | Features::ATTACH, Some(GuestPhysAddr(AREA)));
        assert_eq!(self.call(Operation::ENABLE, CallFlags::empty(), &[asked]).status, Status::OK);
        assert!(self.platform.lock().footprint().open.is_empty(), "A1: nothing is handed over");
    }

    fn turn(&self, operation: Operation, number: u8) -> Status {
        let answer = self.call(operation, CallFlags::empty(), &[AttachRecord::request(device(number))]);
        let record = &answer.records[0];
        assert_eq!(record.refusal == Refusal::NONE, record.status != Status::REFUSED);
        record.status
    }

    fn attach(&self, number: u8) -> Status {
        self.turn(Operation::ATTACH, number)
    }

    fn detach(&self, number: u8) -> Status {
        self.turn(Operation::DETACH, number)
    }

    fn is_attached(&self, number: u8) -> bool {
        let asked = [DeviceRecord::request(device(number))];
        let flags = self.call(Operation::DEVICE_INFO, CallFlags::empty(), &asked).records[0].flags;
        DeviceFlags::from_bits_retain(flags).contains(DeviceFlags::ATTACHED)
    }

    fn end(&self) {
        self.service.shut_down();
        self.assert_nothing_trapped();
    }
}

fn mapped(fixture: &ServiceFixture, asked: EntryRecord) -> EntryRecord {
    let answer = fixture.map(&[asked]).records[0];
    assert_eq!(answer.status, Status::OK, "{asked:?}");
    answer
}

#[test]
fn what_is_not_attached_goes_on_trapped_and_is_refused_by_name() {
    let fixture = ServiceFixture::by_device();
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x52)]);
    assert_eq!(fixture.map(&[routed(0, 2, 0, 0x70)]).records[0].status, Status::NOT_ATTACHED);
    assert_eq!(fixture.query(&[query_of(0, 2)]).records[0].status, Status::NOT_ATTACHED);
    assert_eq!(fixture.detach(0), Status::NOT_ATTACHED);
    assert!(!fixture.is_attached(0));
    assert_eq!((fixture.attach(1), fixture.attach(1)), (Status::OK, Status::ALREADY_ATTACHED));
    assert!(fixture.is_attached(1) && !fixture.is_attached(0));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x52)], "another device is none of ATTACH's");
    assert_eq!(fixture.disable(), Status::OK);
    assert!(!fixture.is_attached(1));
    assert_eq!(fixture.pending(0), 1 << 2 | 1 << 5, "A8");
    fixture.end();
}

#[test]
fn without_the_feature_there_are_no_such_operations() {
    let fixture = ServiceFixture::new();
    let call =
        |operation| fixture.call(operation, CallFlags::empty(), &[AttachRecord::request(device(0))]).status;
    assert_eq!([Operation::ATTACH, Operation::DETACH].map(call), [Status::BAD_OPERATION; 2]);
    fixture.enable();
    assert_eq!([Operation::ATTACH, Operation::DETACH].map(call), [Status::BAD_OPERATION; 2]);
    assert!(!fixture.is_attached(0));
    assert_eq!(fixture.map(&[routed(0, 2, 0, 0x70)]).status, Status::OK);
}

#[test]
fn what_is_held_at_attach_is_delivered_as_mapped() {
    let fixture = ServiceFixture::by_device();
    assert_eq!(fixture.attach(0), Status::OK);
    assert_eq!(fixture.entry(0, 2), None, "the table is the guest's");
    assert_eq!(fixture.delivered(), []);
    // Routed at once, the interrupt comes with MAP.
    mapped(&fixture, routed(0, 2, 0, 0x70));
    assert_eq!(fixture.delivered(), [(0, 0x70)]);
    // It was live: whether something was raised on the way nobody knows.
    mapped(&fixture, routed(0, 3, 1, 0x71));
    assert_eq!(fixture.delivered(), [(1, 0x71)]);
    // Parked, it comes with the first routing.
    let parked = mapped(&fixture, parked(0, 5));
    assert_eq!(fixture.delivered(), []);
    let moved = EntryRecord { handle: parked.handle, ..routed(0, 5, 300, 0x72) };
    assert_eq!(fixture.retarget(&[moved]).status, Status::OK);
    assert_eq!(fixture.delivered(), [(300, 0x72)]);
    // Each of them once, and one that was not in use never.
    mapped(&fixture, routed(0, 6, 0, 0x73));
    assert_eq!(fixture.unmap(&[named(&parked)]).status, Status::OK);
    mapped(&fixture, routed(0, 5, 300, 0x74));
    assert_eq!(fixture.delivered(), []);
    fixture.unmask(0, 2);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(0, 0x70)]);
    fixture.end();
}

#[test]
fn a_map_that_fails_leaves_what_is_held() {
    for kind in [CallKind::SetRoutes, CallKind::Attach, CallKind::Start, CallKind::Pair] {
        let fixture = ServiceFixture::by_device();
        assert_eq!(fixture.attach(0), Status::OK);
        fixture.platform.lock().faults.fail_once(Some(kind), 0, EIO);
        assert_ne!(fixture.map(&[routed(0, 2, 0, 0x70)]).status, Status::OK);
        fixture.delivered();
        mapped(&fixture, routed(0, 2, 0, 0x70));
        assert_eq!(fixture.delivered(), [(0, 0x70)], "{kind:?}");
        fixture.end();
    }
}

#[test]
fn what_was_mapped_is_pending_after_detach_and_sent_when_unmasked() {
    let fixture = ServiceFixture::by_device();
    assert_eq!((fixture.attach(0), fixture.attach(1)), (Status::OK, Status::OK));
    let held = mapped(&fixture, parked(0, 7));
    let live = mapped(&fixture, routed(0, 2, 0, 0x70));
    let other = mapped(&fixture, routed(1, 2, 1, 0x75));
    fixture.delivered();
    let epoch = fixture.service.epoch();
    assert_eq!(fixture.detach(0), Status::OK);
    assert_eq!(fixture.delivered(), []);
    assert_eq!((fixture.service.epoch(), fixture.features().irtes), (epoch, 1), "A6");
    assert_eq!(fixture.entry(0, 2), Some([0, 0, 0, 1]), "T4");
    // Entries 3 and 5 were never mapped: what ATTACH held is held.
    assert_eq!(fixture.pending(0), 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7);
    for (index, vector) in [(2, 0x41), (3, 0x42), (5, 0x43), (7, 0x44)] {
        fixture.live(0, index, 1, vector);
        assert_eq!(fixture.delivered(), [(1, vector)], "entry {index}");
        fixture.raise(0, index);
        assert_eq!(fixture.delivered(), [(1, vector)], "entry {index}");
    }
    assert_eq!(fixture.pending(0), 0);
    assert_eq!(fixture.unmap(&[named(&held)]).records[0].status, Status::NOT_ATTACHED);
    assert_eq!(fixture.query(&[named(&other)]).records[0].status, Status::OK);
    assert_eq!(fixture.attach(0), Status::OK);
    for old in [&held, &live] {
        assert_eq!(fixture.query(&[named(old)]).records[0].status, Status::STALE_HANDLE);
    }
    fixture.end();
}

#[test]
fn an_attach_that_fails_leaves_the_trapped_store_acting() {
    for kind in [CallKind::Detach, CallKind::Untrap, CallKind::Open] {
        let fixture = ServiceFixture::by_device();
        fixture.platform.lock().faults.fail_once(Some(kind), 0, EIO);
        assert_eq!(fixture.attach(0), Status::HOST_ERROR, "{kind:?}");
        assert!(!fixture.is_attached(0));
        assert_eq!(fixture.pending(0), 1 << 2 | 1 << 5, "{kind:?}");
        // It may come without cause, and comes at once.
        assert!(fixture.delivered().iter().all(|sent| *sent == (300, 0x52)));
        fixture.trapped_mask(0, 2, false);
        fixture.live(0, 5, 1, 0x53);
        fixture.raise(0, 3);
        assert_eq!(fixture.delivered(), [(1, 0x51), (1, 0x53), (300, 0x52)], "{kind:?}");
        assert_eq!(fixture.attach(0), Status::OK);
        fixture.end();
    }
}

#[test]
fn records_are_judged_in_their_order() {
    let fixture = ServiceFixture::by_device();
    let shared = FakeDevice::new(fixture.platform.clone(), 3, 1).not_isolated(Refusal::SHARED_GROUP);
    fixture.add(3, shared);
    assert_eq!(fixture.attach(3), Status::REFUSED, "it is judged when it is taken");
    for operation in [Operation::ATTACH, Operation::DETACH] {
        assert_eq!(fixture.turn(operation, 9), Status::NO_DEVICE);
        for byte in 12..64 {
            let mut record = AttachRecord::request(device(9));
            record.as_mut_bytes()[byte] = 1;
            let answer = fixture.call(operation, CallFlags::empty(), &[record]);
            assert_eq!(answer.records[0].status, Status::RESERVED_NOT_ZERO, "byte {byte}");
        }
        let whole = fixture.call(operation, CallFlags::ALL_OR_NOTHING, &[AttachRecord::request(device(0))]);
        assert_eq!(whole.status, Status::BAD_FLAGS);
    }
    assert_eq!((fixture.attach(0), fixture.attach(1)), (Status::OK, Status::OK));
    fixture.service.raise(Event::DeviceCutOff(device(0))).unwrap();
    assert_eq!(fixture.attach(0), Status::DEVICE_CUT_OFF);
    assert_eq!(fixture.detach(0), Status::OK, "what is cut off can be given back");
    fixture.live(0, 2, 1, 0x51);
    assert_eq!(fixture.delivered(), [], "V10");
    fixture.service.raise(Event::DeviceGone(device(1))).unwrap();
    assert_eq!((fixture.attach(1), fixture.detach(1)), (Status::DEVICE_GONE, Status::DEVICE_GONE));
    let several = [0, 2, 9].map(|number| AttachRecord::request(device(number)));
    let answer = fixture.call(Operation::ATTACH, CallFlags::empty(), &several);
    let statuses = answer.records.iter().map(|record| record.status).collect::<Vec<_>>();
    assert_eq!(statuses, [Status::DEVICE_CUT_OFF, Status::OK, Status::NO_DEVICE]);
    assert_eq!((answer.status, answer.header.done), (Status::PARTIAL, 1));
    fixture.end();
}

#[test]
fn a_device_without_a_taken_store_cannot_be_attached() {
    let fixture = ServiceFixture::new();
    let asked = EnableRecord::request(Features::ATTACH | Features::MSI, None);
    assert_eq!(fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]).status, Status::OK);
    assert_eq!((fixture.attach(0), fixture.attach(2)), (Status::STORE_UNSUPPORTED, Status::OK));
    fixture.end();
}

/// The messages of MSI, by their numbers.
#[test]
fn messages_of_msi_are_held_both_ways() {
    let fixture = ServiceFixture::new();
    let switch_on = |log2: u8| {
        fixture.put(2, StoreArea::Capability, 4, &0xfee0_1000_u32.to_le_bytes());
        fixture.put(2, StoreArea::Capability, 12, &[0x60, 0]);
        fixture.put(2, StoreArea::Capability, 2, &[1 | log2 << 4]);
    };
    switch_on(2);
    fixture.enable_by_device();
    assert_eq!(fixture.attach(2), Status::OK);
    // Four messages were in use, and two are mapped: the others come as the first.
    mapped(&fixture, messages(2, 0, 0x70));
    assert_eq!(fixture.delivered(), [(0, 0x70), (0, 0x71)]);
    assert_eq!(fixture.detach(2), Status::OK);
    switch_on(1);
    assert_eq!(fixture.delivered(), [(1, 0x60), (1, 0x61)]);
    fixture.put(2, StoreArea::Capability, 2, &[0]);
    fixture.end();
}

#[test]
fn a_thousand_times_and_nothing_is_left() {
    let fixture = ServiceFixture::new();
    fixture.control(0, ENABLE);
    fixture.enable_by_device();
    for round in 0..1_000_u32 {
        fixture.live(0, 3, 1, 0x51);
        assert_eq!(fixture.delivered().len(), usize::from(round > 0), "held since DETACH");
        fixture.raise(0, 3);
        assert_eq!(fixture.attach(0), Status::OK);
        assert_eq!(fixture.delivered(), [(1, 0x51)]);
        mapped(&fixture, routed(0, 3, 300, 0x70));
        fixture.unmask(0, 3);
        fixture.raise(0, 3);
        assert_eq!(fixture.delivered(), [(300, 0x70); 2]);
        assert_eq!(fixture.detach(0), Status::OK);
    }
    let platform = fixture.platform.lock().footprint();
    assert!(platform.irqfds.is_empty() && platform.routes.is_empty() && platform.open.is_empty());
    assert!(!fixture.platform.lock().calls().contains(&BackendCall::Open(1)));
    fixture.end();
}
