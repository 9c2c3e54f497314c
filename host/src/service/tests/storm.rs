//! Storms: who is cut off, what the guest and the operator are told, and how it goes on. The time is the test's.

use super::*;
use crate::fake::CallKind;
use crate::service::storm::Watched;
use crate::trapped::StoreArea as Where;
use pvir_abi::EventReason;
use std::thread;

/// 500 interrupts in a window of 50 ms.
const LIMIT: u32 = 10_000;

/// A VM whose devices are watched.
struct Stormy {
    fixture: ServiceFixture,
    watched: Watched,
    now: Duration,
    counts: [u64; 3],
}

impl Stormy {
    fn new() -> Self {
        let limited = Config { storm_limit: StormLimit::per_second(LIMIT), ..config() };
        let fixture = ServiceFixture::with(&limited);
        let watched = Watched::new(&fixture.service);
        Self { fixture, watched, now: Duration::ZERO, counts: [0; 3] }
    }

    /// Enabled, with two entries of device 0 and one of device 1.
    fn mapped() -> Self {
        let mut stormy = Self::new();
        stormy.fixture.enable();
        stormy.map();
        stormy.fixture.map(&[routed(1, 1, 1, 0x42)]);
        assert_eq!(stormy.look(), []);
        stormy
    }

    fn map(&self) -> Vec<Status> {
        statuses(&self.fixture.map(&[routed(0, 1, 0, 0x40), routed(0, 2, 0, 0x41)]).records)
    }

    /// The next look, a period later.
    fn look(&mut self) -> Vec<Storm> {
        self.now += StormWatch::PERIOD;
        self.fixture.platform.lock().expect(None);
        let looked = self.watched.look(&self.fixture.service, self.now);
        self.fixture.assert_order();
        looked.storms
    }

    /// Device `number` raises so many interrupts before the next look.
    fn raise(&mut self, number: usize, interrupts: u64) -> Vec<Storm> {
        self.counts[number] += interrupts;
        let counted = Some(self.counts[number]);
        self.fixture.platform.lock().set_counted(number.try_into().unwrap(), counted);
        self.look()
    }

    fn started(&self) -> Vec<u32> {
        self.fixture.platform.lock().footprint().started.keys().map(|entry| entry.device).collect()
    }

    fn is_cut_off(&self, number: u8) -> bool {
        self.fixture.service.is_cut_off(device(number)).unwrap()
    }
}

#[test]
fn a_device_that_storms_is_cut_off_and_everybody_is_told() {
    let mut stormy = Stormy::mapped();
    let epoch = stormy.fixture.area().epoch;
    assert_eq!(stormy.raise(0, 500), []);
    assert_eq!(stormy.started(), [0, 0, 1]);
    let storms = stormy.raise(0, 250);
    let [storm] = storms[..] else { panic!("{storms:?}") };
    assert_eq!((storm.device, storm.interrupts, storm.limit, storm.of_vm), (device(0), 750, LIMIT, false));
    assert_eq!((storm.window, storm.rate()), (Duration::from_millis(50), 15_000));
    assert_eq!(stormy.started(), [1], "its neighbour goes on");
    let area = stormy.fixture.area();
    assert_eq!((area.epoch, area.reason, area.device), (epoch + 1, EventReason::DEVICE_CUT_OFF, device(0)));
    assert_eq!(stormy.map(), [Status::DEVICE_CUT_OFF; 2]);
    let service = &stormy.fixture.service;
    let told = service.cut_off_devices();
    assert_eq!(told, [CutOffDevice { device: device(0), storm: Some(storm) }]);
    assert_eq!(service.statistics().storms, 1);
    assert!(service.readmit(device(0)).unwrap());
    assert_eq!(service.cut_off_devices(), []);
    assert_eq!(stormy.map(), [Status::OK; 2]);
    assert_eq!(stormy.look(), []);
    assert_eq!(stormy.raise(0, 500), [], "what it had before is forgotten");
    assert_eq!(stormy.raise(0, 500).len(), 1);
    assert_eq!(stormy.fixture.service.statistics().storms, 2);
}

#[test]
fn a_device_of_a_guest_that_knows_nothing_of_it_is_cut_off_too() {
    let mut stormy = Stormy::new();
    assert_eq!(stormy.look(), []);
    stormy.fixture.control(0, 1 << 15);
    stormy.fixture.live(0, 1, 0, 0x40);
    assert_eq!((stormy.look(), stormy.started()), (vec![], vec![0]));
    assert_eq!(stormy.raise(0, 501).len(), 1);
    assert!(stormy.started().is_empty());
    stormy.fixture.live(0, 2, 0, 0x41);
    assert!(stormy.started().is_empty());
    stormy.fixture.platform.lock().expect(None);
    assert!(stormy.fixture.service.readmit(device(0)).unwrap());
    assert_eq!(stormy.started(), [0, 0]);
    stormy.fixture.service.shut_down();
    stormy.fixture.assert_baseline();
}

#[test]
fn what_an_operator_cuts_off_is_no_storm_and_stays_as_it_is() {
    let mut stormy = Stormy::mapped();
    stormy.fixture.event(Event::DeviceCutOff(device(0))).unwrap();
    let told = |stormy: &Stormy| stormy.fixture.service.cut_off_devices();
    let by_hand = [CutOffDevice { device: device(0), storm: None }];
    assert_eq!(told(&stormy), by_hand);
    let epoch = stormy.fixture.area().epoch;
    assert_eq!(stormy.raise(0, 5_000), [], "it is cut off");
    assert_eq!((told(&stormy), stormy.fixture.area().epoch), (by_hand.to_vec(), epoch));
    assert_eq!(stormy.fixture.service.statistics().storms, 0);
}

#[test]
fn who_cannot_be_stopped_is_tried_again_while_it_storms() {
    let mut stormy = Stormy::mapped();
    stormy.fixture.platform.lock().faults.fail_from(Some(CallKind::Stop), 0, libc::EIO);
    assert_eq!(stormy.raise(0, 501).len(), 1);
    assert!(stormy.started().contains(&0) && stormy.is_cut_off(0));
    let epoch = stormy.fixture.area().epoch;
    stormy.fixture.platform.lock().faults.clear();
    assert_eq!(stormy.raise(0, 1), [], "no storm is left");
    assert!(stormy.started().contains(&0));
    assert_eq!(stormy.raise(0, 501), [], "no new one");
    assert_eq!((stormy.started(), stormy.fixture.area().epoch), (vec![1], epoch));
}

#[test]
fn a_device_may_come_and_go_while_it_is_watched() {
    let mut stormy = Stormy::mapped();
    assert_eq!(stormy.raise(1, 400), []);
    stormy.fixture.platform.lock().expect(None);
    let (_, gone) = stormy.fixture.service.remove_device(device(1)).unwrap();
    assert_eq!(stormy.raise(1, 400), []);
    stormy.fixture.disable();
    stormy.fixture.service.add_device(device(1), gone).unwrap();
    assert_eq!(stormy.raise(1, 400), [], "another one, for all that is known");
    assert_eq!(stormy.raise(1, 501).len(), 1);
}

#[test]
fn whose_interrupts_are_not_counted_is_told_once() {
    let mut stormy = Stormy::mapped();
    stormy.fixture.platform.lock().set_counted(0, None);
    let lines = stormy.fixture.service.statistics().log_lines;
    for _ in 0..100 {
        assert_eq!(stormy.look(), []);
    }
    assert_eq!(stormy.fixture.service.statistics().log_lines, lines + 1);
    assert_eq!(stormy.raise(0, 0), [], "counted from now on");
    assert_eq!(stormy.raise(0, 501).len(), 1);
}

#[test]
fn there_is_something_to_be_seen_while_an_interrupt_could_come() {
    let mut stormy = Stormy::new();
    let in_use = |stormy: &mut Stormy| stormy.watched.look(&stormy.fixture.service, Duration::ZERO).in_use;
    assert!(!in_use(&mut stormy));
    stormy.fixture.enable();
    assert!(!in_use(&mut stormy));
    let mapped = stormy.fixture.map(&[parked(0, 1)]).records;
    assert!(in_use(&mut stormy), "its eventfd counts");
    stormy.fixture.unmap(&[named(&mapped[0])]);
    assert!(!in_use(&mut stormy));
    stormy.fixture.disable();
    stormy.fixture.control(0, 1 << 15);
    stormy.fixture.live(0, 1, 0, 0x40);
    assert!(in_use(&mut stormy));
}

#[test]
fn a_storm_after_each_reset_fills_no_log() {
    let mut stormy = Stormy::mapped();
    for _ in 0..1_000 {
        assert_eq!(stormy.raise(0, 501).len(), 1);
        assert!(stormy.fixture.service.readmit(device(0)).unwrap());
    }
    assert_eq!(stormy.fixture.service.statistics().storms, 1_000);
    assert!(
        stormy.fixture.service.statistics().log_lines > 1_000,
        "asked for, and bounded by the limit of `log_limit`"
    );
}

/// The thread, by the clock of this machine.
#[test]
fn the_thread_sleeps_until_an_interrupt_is_started_and_cuts_off_what_storms() {
    let limited = Config { storm_limit: StormLimit::per_second(LIMIT), ..config() };
    let ServiceFixture { service, platform, .. } = ServiceFixture::with(&limited);
    let service = Arc::new(service);
    // A second thread works like the first.
    for round in 0..2 {
        let storms = StormThread::start(&service).unwrap();
        // It has had time to fall asleep, or not: both must do.
        thread::sleep(Duration::from_millis(20));
        let write =
            |place, at, data: &[u8]| service.trapped_write(device(0), place, at, data, |_| {}).unwrap();
        write(Where::Capability, 2, &(1u16 << 15).to_le_bytes());
        write(Where::Table, 16, &0xfee0_0000_u32.to_le_bytes());
        write(Where::Table, 24, &0x40_u32.to_le_bytes());
        write(Where::Table, 28, &0_u32.to_le_bytes());
        let mut count = round * (1 << 40);
        let cut_off = patience::until(Duration::from_secs(10), || {
            count += 10_000;
            platform.lock().set_counted(0, Some(count));
            thread::sleep(Duration::from_millis(1));
            service.is_cut_off(device(0)).unwrap()
        });
        assert!(cut_off, "round {round}");
        drop(storms);
        assert!(service.readmit(device(0)).unwrap());
        platform.lock().set_counted(0, Some(count + 1_000_000));
        thread::sleep(StormWatch::PERIOD * 2);
        assert_eq!(service.is_cut_off(device(0)), Some(false), "nobody looks");
    }
    assert_eq!(service.statistics().storms, 2);
}

#[test]
fn without_a_limit_there_is_no_thread() {
    let unlimited = Config { storm_limit: StormLimit::OFF, ..config() };
    let ServiceFixture { service, platform, .. } = ServiceFixture::with(&unlimited);
    let service = Arc::new(service);
    let _none = StormThread::start(&service).unwrap();
    platform.lock().set_counted(0, Some(u64::MAX));
    assert_eq!(service.is_cut_off(device(0)), Some(false));
    assert_eq!(Arc::strong_count(&service), 1);
}
