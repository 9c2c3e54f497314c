//! Devices that come and go while pvir is enabled (docs/abi.md, I4 to I8, V9).

use super::*;

impl ServiceFixture {
    /// Another device comes in the place of the one with this number.
    fn plug(&self, number: u8) {
        self.add(number, FakeDevice::new(self.platform.clone(), number.into(), 8));
    }

    /// It goes, and everything of it.
    fn unplug(&self, number: u8) -> Raised {
        let (raised, gone) = self.service.remove_device(device(number)).unwrap();
        drop(gone);
        self.assert_order();
        raised
    }

    fn enable_with_attach(&self) {
        let asked = EnableRecord::request(Service::FEATURES | Features::ATTACH, Some(GuestPhysAddr(AREA)));
        assert_eq!(self.call(Operation::ENABLE, CallFlags::empty(), &[asked]).status, Status::OK);
    }

    fn take(&self, number: u8) -> Status {
        let asked = pvir_abi::AttachRecord::request(device(number));
        self.call(Operation::ATTACH, CallFlags::empty(), &[asked]).records[0].status
    }
}

#[test]
fn a_guest_that_takes_its_devices_one_at_a_time_takes_one_that_has_come() {
    let fixture = ServiceFixture::new();
    fixture.enable_with_attach();
    let epoch = fixture.service.epoch();
    let taken = || fixture.platform.lock().footprint().open.into_iter().collect::<Vec<_>>();
    fixture.plug(3);
    assert_eq!((fixture.info(3), fixture.features().devices), (Status::OK, 4));
    assert_eq!((fixture.service.epoch(), taken()), (epoch, vec![]), "I6: no event, and trapped");
    assert_eq!(statuses(&fixture.map(&[routed(3, 1, 0, 0x40)]).records), [Status::NOT_ATTACHED]);
    fixture.control(3, 1 << 15);
    fixture.live(3, 2, 1, 0x51);
    fixture.raise(3, 2);
    assert_eq!(fixture.delivered(), [(1, 0x51)], "T1");
    assert_eq!((fixture.take(3), taken()), (Status::OK, vec![3]));
    let mapped = fixture.map(&[routed(3, 2, 300, 0x60)]).records[0];
    assert_eq!(mapped.status, Status::OK);
    fixture.unmask(3, 2);
    fixture.raise(3, 2);
    assert_eq!(fixture.delivered().last(), Some(&(300, 0x60)));

    let raised = fixture.unplug(3);
    assert_eq!((raised.irtes, raised.epoch), (1, Some(epoch + 1)));
    let gone = Status::DEVICE_GONE;
    assert_eq!((fixture.info(3), fixture.take(3), fixture.features().devices), (gone, gone, 3));
    // I7: another device in its place ends that, and no handle of before is alive.
    fixture.plug(3);
    assert_eq!(fixture.info(3), Status::OK);
    assert_eq!(statuses(&fixture.query(&[named(&mapped)]).records), [Status::NOT_ATTACHED]);
    assert_eq!(fixture.take(3), Status::OK);
    assert_eq!(statuses(&fixture.query(&[named(&mapped)]).records), [Status::STALE_HANDLE]);
    let again = fixture.map(&[routed(3, 2, 300, 0x60)]).records[0];
    assert_eq!((again.status, again.handle == mapped.handle), (Status::OK, false));
    fixture.disable();
    assert_eq!(fixture.info(3), Status::OK);
    fixture.unplug(3);
    fixture.assert_baseline();
}

#[test]
fn to_any_other_guest_it_is_not_there_before_its_next_enable() {
    let fixture = ServiceFixture::enabled();
    let before = (fixture.service.epoch(), fixture.area(), fixture.features().devices);
    let unseen = |number: u8, status| {
        assert_eq!(fixture.info(number), status);
        let records = fixture.map(&[routed(number, 1, 0, 0x40)]).records;
        let asked = fixture.query(&[query_of(number, 1)]).records;
        assert_eq!([statuses(&records), statuses(&asked)].concat(), [status; 2]);
    };
    fixture.plug(3);
    unseen(3, Status::NO_DEVICE);
    // Its driver goes on by trapping.
    fixture.control(3, 1 << 15);
    fixture.live(3, 2, 1, 0x51);
    fixture.raise(3, 2);
    assert_eq!(fixture.delivered(), [(1, 0x51)]);
    // Nothing of it is told, whatever happens to it.
    fixture.service.raise(Event::StalePairs(Some(device(3)))).unwrap();
    let cut = fixture.service.raise(Event::DeviceCutOff(device(3))).unwrap();
    assert_eq!((cut.is_new, cut.epoch), (true, Some(before.0)));
    fixture.service.readmit(device(3)).unwrap();
    assert_eq!(fixture.unplug(3).epoch, Some(before.0));
    unseen(3, Status::NO_DEVICE);
    assert_eq!((fixture.service.epoch(), fixture.area(), fixture.features().devices), before);

    // V9 holds until DISABLE, also where another device has come.
    fixture.unplug(0);
    fixture.plug(0);
    unseen(0, Status::DEVICE_GONE);
    fixture.unplug(0);
    fixture.plug(0);
    unseen(0, Status::DEVICE_GONE);
    fixture.disable();
    assert_eq!((fixture.info(0), fixture.features().devices), (Status::OK, 3));
    fixture.enable();
    assert_eq!(fixture.map(&[routed(0, 1, 0, 0x40)]).status, Status::OK);
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn a_device_that_nobody_sees_is_saved_and_restored_as_such() {
    let of = |late: bool| {
        let fixture = ServiceFixture::without_devices(&config());
        let emulated = |number: u8| FakeDevice::new(fixture.platform.clone(), number.into(), 8).emulated();
        fixture.add(0, emulated(0));
        if late {
            fixture.enable();
        }
        fixture.add(3, emulated(3));
        fixture
    };
    let first = of(true);
    first.platform.lock().expect(None);
    let saved = first.service.save().unwrap();
    let second = of(false);
    second.platform.lock().expect(None);
    second.service.restore(&saved).unwrap();
    assert_eq!((second.info(0), second.info(3)), (Status::OK, Status::NO_DEVICE));
    assert_eq!(second.platform.lock().footprint().open.into_iter().collect::<Vec<_>>(), [0]);
    second.disable();
    assert_eq!(second.info(3), Status::OK);
}

/// Calls of the guest while its devices come and go: each sees the device, or that it is gone, and nothing is left.
#[test]
fn a_thousand_plugs_and_unplugs_under_calls_leave_nothing() {
    let fixture = ServiceFixture::new();
    fixture.enable_with_attach();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..1_000 {
                fixture.plug(3);
                if round % 3 == 0 {
                    std::thread::yield_now();
                }
                drop(fixture.service.remove_device(device(3)).unwrap());
                assert!(fixture.service.remove_device(device(3)).is_err(), "twice");
            }
            done.store(true, Ordering::Release);
        });
        let (mut alive, mut given) = (0, std::collections::BTreeSet::new());
        while !done.load(Ordering::Acquire) {
            let taken = fixture.take(3);
            assert!(
                [Status::OK, Status::DEVICE_GONE, Status::NO_DEVICE, Status::ALREADY_ATTACHED]
                    .contains(&taken),
                "{taken:?}"
            );
            let mapped = fixture.map(&[routed(3, 1, 0, 0x40), parked(3, 2)]).records;
            for record in mapped {
                let fine = [Status::OK, Status::DEVICE_GONE, Status::NO_DEVICE, Status::NOT_ATTACHED];
                assert!(fine.contains(&record.status), "{:?}", record.status);
                if record.status == Status::OK && record.state & pvir_abi::EntryState::EXISTING.bits() == 0 {
                    alive += 1;
                    assert!(given.insert(record.handle.0), "H1");
                }
            }
        }
        assert!(alive > 0, "the guest never met a device");
    });
    // Now and then under the guest's own DISABLE and ENABLE as well.
    fixture.disable();
    fixture.assert_baseline();
}

#[test]
fn enable_and_disable_meet_devices_that_come_and_go() {
    let fixture = ServiceFixture::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..500 {
                fixture.plug(3);
                std::thread::yield_now();
                drop(fixture.service.remove_device(device(3)).unwrap());
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            fixture.enable();
            let status = statuses(&fixture.map(&[routed(3, 1, 0, 0x40)]).records)[0];
            assert!([Status::OK, Status::DEVICE_GONE, Status::NO_DEVICE].contains(&status), "{status:?}");
            assert_eq!(fixture.disable(), Status::OK);
        }
    });
    fixture.assert_baseline();
    assert_eq!(fixture.features().devices, 3);
}
