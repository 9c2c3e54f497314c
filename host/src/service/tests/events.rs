//! Events: what they make stale, in which order, and how the guest learns of them.

use super::*;
use crate::fake::{BackendCall, CallKind};
use pvir_abi::{EventArea, EventReason};
use std::sync::Mutex;
use zerocopy::FromZeros;

const NOTIFY: (u32, u8) = (300, 0xee);

impl ServiceFixture {
    /// With NOTIFY beside everything else.
    fn notified() -> Self {
        let fixture = Self::new();
        fixture.enable_notified();
        fixture
    }

    pub(super) fn enable_notified(&self) {
        let asked = EnableRecord {
            notify_apic_id: NOTIFY.0,
            notify_vector: NOTIFY.1.into(),
            ..EnableRecord::request(Service::FEATURES | Features::NOTIFY, Some(GuestPhysAddr(AREA)))
        };
        let answer = self.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
        assert_eq!(answer.status, Status::OK);
    }

    pub(super) fn area(&self) -> EventArea {
        area_of(&self.ram)
    }

    /// Raises an event in the order that the platform knows.
    pub(super) fn event(&self, event: Event) -> Result<Raised, RaiseError> {
        self.platform.lock().expect(None);
        let raised = self.service.raise(event);
        self.assert_order();
        raised
    }

    pub(super) fn info(&self, number: u8) -> Status {
        let asked = [DeviceRecord::request(device(number))];
        self.call(Operation::DEVICE_INFO, CallFlags::empty(), &asked).records[0].status
    }
}

fn area_of(ram: &GuestMemoryMmap) -> EventArea {
    let mut area = EventArea::new_zeroed();
    ram.read_slice(area.as_mut_bytes(), GuestAddress(AREA)).unwrap();
    area
}

fn stale(number: u8) -> Event {
    Event::StalePairs(Some(device(number)))
}

#[test]
fn stale_pairs_of_a_device_end_its_handles_and_no_others() {
    // V2, V3, V5, H2
    let fixture = ServiceFixture::enabled();
    let first = fixture.area();
    let mapped = fixture.map(&[routed(0, 1, 0, 0x40), routed(0, 2, 0, 0x41), routed(1, 1, 1, 0x42)]).records;
    let raised = fixture.event(stale(0)).unwrap();
    assert_eq!((raised.epoch, raised.is_new, raised.irtes), (Some(first.epoch + 1), true, 2));
    let what = (EventReason::STALE_PAIRS, device(0));
    let area = fixture.area();
    assert_eq!((area.epoch, area.sequence, (area.reason, area.device)), (first.epoch + 1, 1, what));
    assert_eq!(area.reserved, [0; 5]);
    let asked: Vec<_> = mapped.iter().map(named).collect();
    let answer = fixture.query(&asked);
    assert_eq!(answer.header.epoch, first.epoch + 1);
    assert_eq!(statuses(&answer.records), [Status::STALE_HANDLE, Status::STALE_HANDLE, Status::OK]);
    assert_eq!(statuses(&fixture.unmap(&asked[..2]).records), [Status::STALE_HANDLE; 2]);
    let again = fixture.map(&[routed(0, 1, 0, 0x40)]).records[0];
    assert_eq!(again.status, Status::OK);
    assert_ne!(again.handle, mapped[0].handle);
    fixture.unmask(0, 1);
    fixture.raise(0, 1);
    assert_eq!(fixture.delivered(), [(0, 0x40)]);
}

#[test]
fn stale_pairs_of_all_devices_leave_nothing_mapped() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 1, 0, 0x40), parked(1, 2), messages(4, 1, 0x44), ims(0, 0, 0, 0x50)]);
    let raised = fixture.event(Event::StalePairs(None)).unwrap();
    assert_eq!(raised.irtes, 7);
    let everything = DeviceId::new(u16::MAX, Bdf(u16::MAX));
    assert_eq!(fixture.area().device, everything);
    fixture.assert_baseline();
    assert_eq!(fixture.features().irtes, 0);
    // Each is an event, though there is nothing left to be stale.
    assert!(fixture.event(Event::StalePairs(None)).unwrap().is_new);
    assert_eq!(fixture.area().sequence, 2);
}

#[test]
fn the_vector_comes_after_the_area_and_that_after_the_release() {
    // V3, V4
    let fixture = ServiceFixture::notified();
    fixture.map(&[routed(0, 1, 0, 0x40)]);
    let seen: Arc<Mutex<Vec<(EventArea, usize)>>> = Arc::default();
    let (of_hook, ram, platform) = (Arc::clone(&seen), Arc::clone(&fixture.ram), fixture.platform.clone());
    let hook = move || {
        let started = platform.lock().footprint().started.len();
        of_hook.lock().unwrap().push((area_of(&ram), started));
    };
    fixture.platform.lock().when_signalled = Some(Arc::new(hook));
    fixture.event(stale(0)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(fixture.area(), 0)]);
    assert_eq!(fixture.delivered(), [(NOTIFY.0, NOTIFY.1)]);
}

/// Guest RAM that notes where it is written, and what of the platform is started then.
struct WatchedRam {
    ram: Arc<GuestMemoryMmap>,
    platform: SharedPlatform,
    written: Mutex<Vec<(u64, usize, usize)>>,
}

impl GuestRam for WatchedRam {
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), crate::memory::NotRam> {
        GuestRam::read(&*self.ram, at, bytes)
    }

    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), crate::memory::NotRam> {
        let started = self.platform.lock().footprint().started.len();
        self.written.lock().unwrap().push((at.0, bytes.len(), started));
        GuestRam::write(&*self.ram, at, bytes)
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        GuestRam::is_ram(&*self.ram, at, len)
    }
}

#[test]
fn the_area_is_written_after_the_release_in_three_stores_with_the_epoch_last() {
    // V2
    let mut fixture = ServiceFixture::new();
    let watched = Arc::new(WatchedRam {
        ram: Arc::clone(&fixture.ram),
        platform: fixture.platform.clone(),
        written: Mutex::default(),
    });
    fixture.service.ram = watched.clone();
    fixture.enable();
    fixture.map(&[routed(0, 1, 0, 0x40)]);
    watched.written.lock().unwrap().clear();
    fixture.event(stale(0)).unwrap();
    assert_eq!(*watched.written.lock().unwrap(), [(AREA + 8, 8, 0), (AREA + 16, 8, 0), (AREA, 8, 0)]);
}

#[test]
fn a_device_that_is_cut_off_is_refused_until_it_is_readmitted() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 1, 0, 0x40), routed(1, 1, 0, 0x41)]).records;
    let cut = Event::DeviceCutOff(device(0));
    let raised = fixture.event(cut).unwrap();
    assert_eq!((raised.is_new, raised.irtes), (true, 1));
    assert_eq!(fixture.area().reason, EventReason::DEVICE_CUT_OFF);
    let off = Status::DEVICE_CUT_OFF;
    assert_eq!(
        statuses(&fixture.map(&[routed(0, 2, 0, 0x42), routed(1, 2, 0, 0x43)]).records),
        [off, Status::OK]
    );
    assert_eq!(statuses(&fixture.query(&[named(&mapped[0]), query_of(0, 3)]).records), [off; 2]);
    assert_eq!(statuses(&fixture.unmap(&[named(&mapped[0])]).records), [off]);
    assert_eq!(statuses(&fixture.retarget(&[moved(&mapped[0], 1, 0x50)]).records), [off]);
    assert_eq!(fixture.info(0), Status::OK);
    let again = fixture.event(cut).unwrap();
    assert_eq!((again.is_new, again.epoch, fixture.area().sequence), (false, raised.epoch, 1));
    assert_eq!(fixture.service.is_cut_off(device(0)), Some(true));
    // It outlasts the session.
    fixture.disable();
    fixture.enable();
    assert_eq!(statuses(&fixture.map(&[routed(0, 2, 0, 0x42)]).records), [off]);
    assert_eq!(fixture.service.readmit(device(0)), Ok(true));
    assert_eq!(fixture.service.readmit(device(0)), Ok(false));
    // A reset of the VM resets its devices.
    fixture.event(cut).unwrap();
    fixture.service.shut_down();
    assert_eq!(fixture.service.is_cut_off(device(0)), Some(false));
    fixture.enable();
    assert_eq!(statuses(&fixture.map(&[routed(0, 2, 0, 0x42)]).records), [Status::OK]);
}

#[test]
fn a_device_that_is_cut_off_is_held_off_from_behind_its_last_interrupt_until_it_goes_on() {
    // V10, V11
    let fixture = ServiceFixture::enabled();
    let cut = Event::DeviceCutOff(device(0));
    let calls = |fixture: &ServiceFixture| {
        let asked = |call: &&BackendCall| matches!(call, BackendCall::Stop(..) | BackendCall::HoldOff(..));
        fixture.platform.lock().calls().iter().filter(asked).copied().collect::<Vec<_>>()
    };
    for round in 0..3 {
        fixture.map(&[routed(0, 1, 0, 0x40)]);
        fixture.event(cut).unwrap();
        assert_eq!(calls(&fixture), [BackendCall::Stop(place(0, 1), 1), BackendCall::HoldOff(0, true)]);
        fixture.disable();
        fixture.enable();
        fixture.platform.lock().expect(None);
        match round {
            0 => assert_eq!(fixture.service.readmit(device(0)), Ok(true)),
            1 => fixture.service.reset_device(device(0), || Ok(())).unwrap(),
            _ => fixture.service.shut_down(),
        }
        assert_eq!(calls(&fixture), [BackendCall::HoldOff(0, false)], "round {round}");
        assert_eq!(fixture.service.is_cut_off(device(0)), Some(false));
    }
    // One that cannot be held off is cut off all the same, and is tried again by the event.
    fixture.enable();
    fixture.platform.lock().faults.fail_once(Some(CallKind::HoldOff), 0, libc::EIO);
    assert!(fixture.event(cut).unwrap().is_new);
    assert!(!fixture.event(cut).unwrap().is_new);
    assert_eq!(calls(&fixture), [BackendCall::HoldOff(0, true)]);
}

#[test]
fn what_is_trapped_of_a_device_that_is_cut_off_sends_nothing() {
    let fixture = ServiceFixture::new();
    fixture.control(0, 1 << 15);
    fixture.live(0, 2, 1, 0x51);
    let raised = fixture.event(Event::DeviceCutOff(device(0))).unwrap();
    assert_eq!((raised.epoch, raised.is_new), (None, true), "nobody is told");
    fixture.assert_nothing_trapped();
    fixture.live(0, 3, 1, 0x52);
    fixture.raise(0, 2);
    fixture.raise(0, 3);
    fixture.assert_nothing_trapped();
    assert_eq!(fixture.delivered(), []);
    assert_eq!(fixture.service.readmit(device(0)), Ok(true));
    fixture.raise(0, 2);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x51), (1, 0x52)], "the registers act again");
}

#[test]
fn a_device_that_goes_gives_everything_back_and_its_name_says_so_until_disable() {
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 1, 0, 0x40), ims(0, 1, 0, 0x41)]).records;
    let (raised, device_itself) = fixture.service.remove_device(device(0)).unwrap();
    fixture.assert_order();
    drop(device_itself);
    assert_eq!((raised.irtes, raised.unstopped), (2, 0));
    fixture.assert_baseline();
    assert_eq!(fixture.platform.lock().footprint().open.into_iter().collect::<Vec<_>>(), [1, 2]);
    let area = fixture.area();
    assert_eq!((area.reason, area.device), (EventReason::DEVICE_GONE, device(0)));
    let gone = Status::DEVICE_GONE;
    assert_eq!(statuses(&fixture.query(&[named(&mapped[0]), query_of(0, 3)]).records), [gone; 2]);
    assert_eq!(statuses(&fixture.map(&[routed(0, 1, 0, 0x40)]).records), [gone]);
    assert_eq!((fixture.info(0), fixture.features().devices), (gone, 2));
    let again = fixture.event(Event::DeviceGone(device(0))).unwrap();
    assert_eq!((again.is_new, again.epoch), (false, raised.epoch));
    assert_eq!(
        fixture.service.remove_device(device(0)).map(|_| ()),
        Err(RaiseError::UnknownDevice(device(0)))
    );
    fixture.disable();
    assert_eq!(fixture.info(0), Status::NO_DEVICE);
    fixture.add(0, FakeDevice::new(fixture.platform.clone(), 0, ENTRIES[0]));
    assert_eq!(fixture.info(0), Status::OK);
}

#[test]
fn a_trapped_device_that_goes_leaves_nothing() {
    let fixture = ServiceFixture::new();
    fixture.control(0, 1 << 15);
    fixture.live(0, 2, 1, 0x51);
    let (raised, _) = fixture.service.remove_device(device(0)).unwrap();
    assert_eq!(raised.epoch, None);
    fixture.assert_nothing_trapped();
    assert_eq!(fixture.info(0), Status::NO_DEVICE);
}

#[test]
fn events_that_cannot_be_are_refused_and_change_nothing() {
    let fixture = ServiceFixture::new();
    assert_eq!(fixture.event(Event::StalePairs(None)), Err(RaiseError::NotEnabled));
    assert_eq!(fixture.event(stale(0)), Err(RaiseError::NotEnabled));
    fixture.enable();
    let before = fixture.area();
    for event in [stale(9), Event::DeviceGone(device(9)), Event::DeviceCutOff(device(9))] {
        assert_eq!(fixture.event(event), Err(RaiseError::UnknownDevice(device(9))), "{event:?}");
    }
    assert_eq!(fixture.service.readmit(device(9)), Err(RaiseError::UnknownDevice(device(9))));
    assert_eq!((fixture.area(), fixture.service.epoch()), (before, before.epoch));
    assert_eq!(Event::new(EventReason::DEVICE_GONE, None), None);
    assert_eq!(Event::new(EventReason::NONE, Some(device(0))), None);
    assert_eq!(Event::new(EventReason::STALE_PAIRS, None), Some(Event::StalePairs(None)));
}

#[test]
fn announcements_go_where_a_map_could() {
    // E1, E2
    let fixture = ServiceFixture::new();
    let enable = |features, apic_id, vector| {
        let area = Some(GuestPhysAddr(AREA)).filter(|_| features == Features::EPOCH | Features::NOTIFY);
        let asked = EnableRecord {
            notify_apic_id: apic_id,
            notify_vector: vector,
            ..EnableRecord::request(features, area)
        };
        fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]).status
    };
    let both = Features::EPOCH | Features::NOTIFY;
    for (apic_id, vector) in [(0, 0), (0, 5), (0, 31), (0, 0x120), (9, 0x40), (0xff, 0x40), (u32::MAX, 0x40)]
    {
        assert_eq!(enable(both, apic_id, vector), Status::BAD_NOTIFY, "{apic_id} {vector}");
    }
    assert_eq!(enable(Features::NOTIFY, 0, 0x40), Status::UNSUPPORTED_FEATURE);
    assert_eq!(enable(Features::EPOCH, 0, 0x40), Status::RESERVED_NOT_ZERO);
    assert_eq!(enable(both, 300, 0xff), Status::OK);
}

#[test]
fn a_vector_that_an_entry_has_too_announces_all_the_same() {
    // V7
    let fixture = ServiceFixture::notified();
    let shared = routed(0, 1, NOTIFY.0, NOTIFY.1);
    assert_eq!(fixture.map(&[shared]).status, Status::OK);
    fixture.event(stale(2)).unwrap();
    assert_eq!(fixture.delivered(), [NOTIFY]);
    fixture.unmask(0, 1);
    fixture.raise(0, 1);
    assert_eq!(fixture.delivered(), [NOTIFY], "the entry has its interrupt");
    fixture.event(stale(0)).unwrap();
    assert_eq!(fixture.delivered(), [NOTIFY]);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn a_guest_that_never_takes_its_interrupts_again_holds_nothing() {
    // S6, V3
    let fixture = ServiceFixture::notified();
    let mapped = fixture.map(&[routed(0, 1, 0, 0x40), parked(0, 2)]).records;
    let named: Vec<_> = mapped.iter().map(named).collect();
    for round in 0..100 {
        fixture.event(Event::StalePairs(None)).unwrap();
        assert_eq!(statuses(&fixture.query(&named).records), [Status::STALE_HANDLE; 2], "round {round}");
        assert!(fixture.service.irtes().is_empty(), "round {round}");
    }
    fixture.event(Event::DeviceCutOff(device(0))).unwrap();
    assert_eq!(statuses(&fixture.query(&named).records), [Status::DEVICE_CUT_OFF; 2]);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn without_an_area_the_headers_have_the_epoch() {
    let fixture = ServiceFixture::new();
    let asked = [EnableRecord::request(Features::MSIX, None)];
    let first = fixture.call(Operation::ENABLE, CallFlags::empty(), &asked).header.epoch;
    fixture.ram.write_slice(&[0xaa; 64], GuestAddress(AREA)).unwrap();
    fixture.event(stale(0)).unwrap();
    let header = fixture.call(Operation::QUERY, CallFlags::empty(), &[query_of(0, 1)]).header;
    assert_eq!(header.epoch, first + 1);
    assert_eq!(fixture.area().as_bytes(), [0xaa; 64]);
    fixture.disable();
    fixture.enable();
    assert!(fixture.area().epoch > first + 1, "E8");
    assert_eq!(fixture.area().sequence, 0);
    assert_eq!(fixture.platform.lock().count(CallKind::Signal), 0);
}

#[test]
fn what_a_parked_entry_held_is_dropped_with_it() {
    // V3
    let fixture = ServiceFixture::enabled();
    fixture.map(&[parked(0, 5)]);
    fixture.unmask(0, 5);
    fixture.raise(0, 5);
    fixture.event(stale(0)).unwrap();
    let again = fixture.map(&[parked(0, 5)]).records[0];
    assert_eq!(fixture.retarget(&[moved(&again, 1, 0x51)]).status, Status::OK);
    assert_eq!(fixture.delivered(), []);
}

#[test]
fn a_thousand_events_leave_nothing_behind() {
    let fixture = ServiceFixture::new();
    fixture.enable_notified();
    let mut given = std::collections::BTreeSet::new();
    for round in 0..1000 {
        let mapped =
            fixture.map(&[routed(0, 1, 0, 0x40), parked(0, 2), ims(0, 1, 1, 0x41), messages(4, 1, 0x44)]);
        assert_eq!(mapped.status, Status::OK, "round {round}");
        assert!(mapped.records.iter().all(|record| given.insert(record.handle.0)), "H1, round {round}");
        let event = if round % 2 == 0 { Event::StalePairs(None) } else { Event::DeviceCutOff(device(0)) };
        fixture.event(event).unwrap();
        if round % 2 == 1 {
            fixture.service.readmit(device(0)).unwrap();
            fixture.event(Event::StalePairs(Some(device(2)))).unwrap();
        }
        assert!(fixture.service.irtes().is_empty(), "round {round}");
    }
    assert_eq!((fixture.area().sequence, fixture.delivered().len()), (1500, 1500));
    fixture.assert_baseline();
}
