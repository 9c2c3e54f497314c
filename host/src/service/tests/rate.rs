//! The limit of what a guest may take of the host (O7), by a clock that the test moves.

use super::fixture::Answer;
use super::*;
use crate::trapped::StoreArea as Where;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Entries of device 3 and of device 4: as many as a table has.
const LARGE: u32 = 2048;
const MAX_DELAY: Duration = RateLimit::MAX_DELAY;
const MILLISECOND: i64 = 1_000_000;

/// A clock that stands still until somebody waits or a test moves it.
#[derive(Default)]
struct FakeClock {
    now: Mutex<Duration>,
    waits: Mutex<Vec<Duration>>,
}

impl FakeClock {
    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    fn waits(&self) -> Vec<Duration> {
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wait(&self, delay: Duration) {
        self.waits.lock().unwrap().push(delay);
        self.pass(delay);
    }
}

struct Limited {
    fixture: ServiceFixture,
    clock: Arc<FakeClock>,
}

impl Limited {
    /// A VM with two large tables more.
    fn new(rate_limit: RateLimit) -> Self {
        let clock = Arc::<FakeClock>::default();
        let mut fixture = ServiceFixture::with(&Config { rate_limit, ..config() });
        fixture.service = fixture.service.with_clock(Arc::clone(&clock) as _);
        for number in [3, 4] {
            fixture.add(number, FakeDevice::new(fixture.platform.clone(), number.into(), LARGE));
        }
        Self { fixture, clock }
    }

    /// An enabled VM that has nothing left, with the first `mapped` entries of device 0.
    fn in_debt(mapped: u32) -> (Self, Vec<EntryRecord>) {
        let limited = Self::new(RateLimit::percent(50));
        limited.fixture.enable();
        let records = limited.fixture.map(&batch(0..mapped)).records;
        limited.owe(1);
        (limited, records)
    }

    /// Puts the VM into debt, by so many milliseconds.
    fn owe(&self, milliseconds: i64) {
        let mut vm = self.fixture.service.lock();
        // What it has got so far is gone, too.
        vm.rate.admits(self.clock.now());
        vm.rate.balance = -milliseconds * MILLISECOND;
    }

    fn balance(&self) -> i64 {
        self.fixture.service.lock().rate.balance
    }

    /// Nominal microseconds that something costs.
    fn cost_of(&self, act: impl FnOnce()) -> i64 {
        let before = self.balance();
        act();
        (before - self.balance()) / 1_000
    }

    fn put(&self, area: Where, offset: u64, data: &[u8]) {
        self.fixture.platform.lock().expect(None);
        assert!(self.fixture.service.trapped_write(device(3), area, offset, data, |_| {}).is_ok());
    }
}

/// All that a VM can have, in calls as long as there are.
fn everything() -> impl Iterator<Item = Vec<EntryRecord>> {
    [3, 4].into_iter().flat_map(|number| {
        let route = move |index| routed(number, index, 0, 0x40);
        (0..LARGE).step_by(512).map(move |first| (first..(first + 512).min(2036)).map(route).collect())
    })
}

#[test]
fn a_guest_that_sets_up_and_tears_down_everything_is_not_held() {
    let limited = Limited::new(RateLimit::default());
    let fixture = &limited.fixture;
    let set_up = limited.cost_of(|| {
        fixture.enable();
        for records in everything() {
            assert_eq!(fixture.map(&records).status, Status::OK);
        }
    });
    assert_eq!(fixture.service.irtes().len(), 4072);
    let tear_down = limited.cost_of(|| assert_eq!(fixture.disable(), Status::OK));
    // The clock has stood still: the burst has paid for it. It pays for more than this four times.
    assert!(set_up > 100_000 && tear_down > 100_000, "{set_up} and {tear_down} microseconds");
    assert!((set_up + tear_down) * 1_000 * 4 < limited.balance() + set_up * 1_000 + tear_down * 1_000);
    assert_eq!((limited.clock.waits(), fixture.service.statistics().rate_limited), (vec![], 0));
}

#[test]
fn who_is_in_debt_is_refused_before_anything_is_done() {
    let (limited, mapped) = Limited::in_debt(4);
    let fixture = &limited.fixture;
    let before = (fixture.platform.lock().footprint(), format!("{:?}", fixture.service.irtes()));
    let more = batch(8..9);
    let moves = [moved(&mapped[0], 1, 0x51), moved(&mapped[1], 1, 0x52)];
    let refused = [fixture.map(&more), fixture.retarget(&moves)];
    for answer in refused {
        assert_eq!((answer.status, answer.header.done), (Status::RATE_LIMITED, 0));
        assert_eq!(answer.header.epoch, 1);
        // Records are not written (B4).
        assert!(answer.records.iter().all(|record| record.status == Status::PENDING));
    }
    let asked = EnableRecord::request(Features::MSIX, None);
    let again = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    assert_eq!((again.status, again.records[0].status), (Status::RATE_LIMITED, Status::PENDING));
    assert_eq!((fixture.platform.lock().footprint(), format!("{:?}", fixture.service.irtes())), before);
    assert_eq!(limited.clock.waits(), [], "a refusal costs nobody time");
    let counted = fixture.service.statistics();
    assert_eq!((counted.rate_limited, counted.refused, counted.delayed), (3, 3, 0));
    // A call that is wrong is told so first.
    let header = Header { flags: 8, ..Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1) };
    assert_eq!(fixture.send(header, &more).status, Status::BAD_FLAGS);
    // 1 ms at half of a core.
    limited.clock.pass(Duration::from_millis(2));
    assert_eq!(fixture.map(&more).status, Status::OK);
}

#[test]
fn what_a_kernel_cannot_do_without_is_delayed_and_never_refused() {
    let (limited, mapped) = Limited::in_debt(4);
    let fixture = &limited.fixture;
    let acts: [(&str, &dyn Fn() -> Status); 6] = [
        ("RETARGET", &|| fixture.retarget(&[moved(&mapped[0], 1, 0x51)]).status),
        ("RETARGET that parks", &|| fixture.retarget(&[park(&mapped[1])]).status),
        ("UNMAP", &|| fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>()).status),
        ("QUERY", &|| {
            fixture.query(&[query_of(0, 0)]);
            Status::OK
        }),
        ("FEATURES", &|| {
            fixture.features();
            Status::OK
        }),
        ("DISABLE", &|| fixture.disable()),
    ];
    for (what, act) in acts {
        // What gives back is done once.
        let debts: &[i64] = if ["UNMAP", "DISABLE"].contains(&what) { &[1_000_000] } else { &[1, 1_000_000] };
        for debt in debts {
            limited.owe(*debt);
            assert_eq!(act(), Status::OK, "{what}");
            let waits = limited.clock.waits();
            assert_eq!(waits.len(), 1, "{what}");
            assert!(waits[0] >= Duration::from_millis(2) && waits[0] <= MAX_DELAY, "{what}: {waits:?}");
            assert_eq!(waits[0] == MAX_DELAY, *debt > 100, "{what}: {waits:?}");
        }
    }
    assert_eq!(fixture.service.statistics().rate_limited, 0);
}

#[test]
fn after_a_second_nobody_is_refused() {
    let (limited, _) = Limited::in_debt(4);
    // By a call, since a debt has its end when something is charged.
    limited.owe(1_000_000);
    limited.fixture.query(&[query_of(0, 0)]);
    assert_eq!(limited.fixture.map(&batch(4..5)).status, Status::RATE_LIMITED);
    limited.clock.pass(Duration::from_secs(1) - MAX_DELAY);
    assert_eq!(limited.fixture.map(&batch(4..5)).status, Status::OK);
}

#[test]
fn an_action_costs_what_is_done_for_it() {
    let limited = Limited::new(RateLimit::percent(50).with_burst(Duration::from_secs(1_000)));
    let fixture = &limited.fixture;
    fixture.enable();
    let mapped: Vec<_> = everything().take(4).flat_map(|records| fixture.map(&records).records).collect();
    assert_eq!(mapped.len(), 2036);
    // The table has all routes, whatever is changed of it.
    let one =
        limited.cost_of(|| assert_eq!(fixture.retarget(&[moved(&mapped[0], 1, 0x51)]).status, Status::OK));
    assert_eq!(one, 2 + 50 + 2036 * 2 / 5);
    let unchanged =
        limited.cost_of(|| assert_eq!(fixture.retarget(&[moved(&mapped[0], 1, 0x51)]).status, Status::OK));
    assert_eq!(unchanged, 2);
    let parks: Vec<_> = mapped[..512].iter().map(park).collect();
    let parking = limited.cost_of(|| assert_eq!(fixture.retarget(&parks).status, Status::OK));
    assert_eq!(parking, 2 + 256 + 512 * 30 + 50 + (2036 - 512) * 2 / 5);
    let refused =
        limited.cost_of(|| assert_eq!(fixture.map(&[routed(3, 5, 0, 0x99)]).status, Status::PARTIAL));
    assert_eq!(refused, 2);
}

#[test]
fn what_two_bytes_do_to_a_trapped_table_is_charged() {
    let limited = Limited::new(RateLimit::percent(50).with_burst(Duration::from_secs(1_000)));
    limited.put(Where::Capability, 2, &0xc000_u16.to_le_bytes());
    for index in 0..LARGE {
        for (word, value) in [(0, 0xfee0_1000), (8, 0x50), (12, 0)] {
            let (at, data) = (u64::from(index) * 16 + word, u32::to_le_bytes(value));
            assert_eq!(limited.cost_of(|| limited.put(Where::Table, at, &data)), 2);
        }
    }
    let mask = |value: u16| limited.cost_of(|| limited.put(Where::Capability, 2, &value.to_le_bytes()));
    let (entries, routes) = (i64::from(LARGE), i64::from(LARGE) * 2 / 5);
    assert_eq!(mask(0x8000), 2 + (50 + routes) + (20 + 10 * entries) + 20 * entries);
    assert_eq!(mask(0xc000), 2 + 30 * entries);
    assert_eq!(mask(0x8000), 2 + 20 * entries);
    assert_eq!(mask(0xc000), 2 + 30 * entries);
    assert_eq!(limited.clock.waits(), []);
    // With nothing left, each access waits, and none for longer than it may.
    limited.owe(0);
    (0..20).for_each(|round| _ = mask(if round % 2 == 0 { 0x8000 } else { 0xc000 }));
    let waits = limited.clock.waits();
    assert!(waits.len() == 20 && waits.iter().all(|wait| *wait <= MAX_DELAY), "{waits:?}");
    assert_eq!(limited.fixture.service.statistics().log_lines, 1, "told once");
    // Half of a core: twice as long as the work takes.
    let work = 20 * 2 + 10 * (20 + 30) * entries;
    assert_eq!(waits.iter().map(Duration::as_micros).sum::<u128>(), u128::from(2 * work.unsigned_abs()));
}

#[test]
fn the_thread_works_at_the_guests_cost() {
    let clock = Arc::<FakeClock>::default();
    let rate_limit = RateLimit::percent(50);
    let mut fixture = ServiceFixture::with(&Config { armed_ahead: 8, rate_limit, ..config() });
    fixture.service = fixture.service.with_clock(Arc::clone(&clock) as _);
    let limited = Limited { fixture, clock };
    limited.fixture.enable();
    assert_eq!(limited.cost_of(|| limited.fixture.arm()), 8 * 20);
    limited.owe(1);
    limited.fixture.service.lock().lines.disarm();
    limited.fixture.arm();
    assert_eq!(limited.clock.waits(), [], "the thread itself is never held");
}

/// The largest calls in their worst layout: no two entries are one run for the device. All under the VM's lock.
#[test]
fn the_largest_calls_have_a_bound_in_calls_of_the_kernel() {
    let limited = Limited::new(RateLimit::OFF);
    let fixture = &limited.fixture;
    fixture.enable();
    let calls = |act: &dyn Fn() -> Answer<EntryRecord>| {
        fixture.platform.lock().expect(None);
        let answer = act();
        assert_eq!(answer.status, Status::OK);
        (fixture.platform.lock().calls().len(), answer.records)
    };
    let routes: Vec<_> = (0..512).map(|index| routed(3, 2 * index, 0, 0x40)).collect();
    // One routing; for each an irqfd, a start, a mask and a pair.
    let (map, mapped) = calls(&|| fixture.map(&routes));
    assert!(map <= 1 + 4 * 512, "MAP: {map}");
    let (park, _) = calls(&|| fixture.retarget(&mapped.iter().map(park).collect::<Vec<_>>()));
    assert!(park <= 1 + 512, "RETARGET that parks: {park}");
    let (back, _) =
        calls(&|| fixture.retarget(&mapped.iter().map(|entry| moved(entry, 1, 0x51)).collect::<Vec<_>>()));
    assert!(back <= 1 + 512, "RETARGET that un-parks: {back}");
    let (retarget, _) =
        calls(&|| fixture.retarget(&mapped.iter().map(|entry| moved(entry, 0, 0x52)).collect::<Vec<_>>()));
    assert_eq!(retarget, 1, "RETARGET");
    let (unmap, _) = calls(&|| fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>()));
    assert!(unmap <= 1 + 2 * 512, "UNMAP: {unmap}");
    for first in (0..2048).step_by(512) {
        fixture.map(&(first..first + 512).map(|index| routed(3, index, 0, 0x40)).collect::<Vec<_>>());
    }
    fixture.platform.lock().expect(None);
    assert_eq!(fixture.disable(), Status::OK);
    // For each an irqfd off, stopped in one run; routes once; each device closed.
    let disable = fixture.platform.lock().calls().len();
    assert!(disable <= 2048 + 2 + 8, "DISABLE: {disable}");
}

/// A clock whose waits last until a test ends them.
struct Gate {
    waiting: Mutex<Sender<Duration>>,
    opened: Mutex<Receiver<()>>,
}

impl Clock for Gate {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wait(&self, delay: Duration) {
        self.waiting.lock().unwrap().send(delay).unwrap();
        self.opened.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn a_vcpu_that_waits_holds_nobody() {
    let ((waiting, waits), (open, opened)) = (channel(), channel());
    let (mut limited, mapped) = Limited::in_debt(4);
    let gate = Arc::new(Gate { waiting: Mutex::new(waiting), opened: Mutex::new(opened) });
    limited.fixture.service = limited.fixture.service.with_clock(gate);
    let fixture = &limited.fixture;
    thread::scope(|scope| {
        let held = scope.spawn(|| fixture.retarget(&[moved(&mapped[0], 1, 0x51)]).status);
        assert!(waits.recv().unwrap() <= MAX_DELAY);
        // The lock is free, what was asked for is done, and another vCPU's call is answered.
        assert_eq!(
            fixture
                .service
                .irtes()
                .iter()
                .filter(|irte| irte.route.is_some_and(|to| to.vector() == 0x51))
                .count(),
            1
        );
        assert_eq!(fixture.service.call(1, 0, GuestPhysAddr(0x3_0000)), Status::BAD_MAGIC);
        assert!(!held.is_finished());
        open.send(()).unwrap();
        assert_eq!(held.join().unwrap(), Status::OK);
    });
}
