//! Every call of the kernel fails once, in turn, with every errno, under every operation.

use super::*;
use crate::fake::CallKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const ERRNOS: [i32; 9] = [
    libc::EIO,
    libc::ENOMEM,
    libc::ENOSPC,
    libc::EINVAL,
    libc::EBUSY,
    libc::EINTR,
    libc::EAGAIN,
    libc::EMFILE,
    libc::ENODEV,
];

/// What is asked while calls fail.
#[derive(Clone, Copy, Debug)]
enum FaultScene {
    Enable,
    Disable,
    Map(CallFlags),
    Retarget(CallFlags),
    Unmap(CallFlags),
}

/// Four devices, every store, runs of several and single ones, parked ones among them.
fn requested() -> Vec<EntryRecord> {
    let others = [
        parked(0, 20),
        parked(0, 21),
        routed(1, 3, 300, 0x70),
        routed(1, 2, 1, 0x71),
        messages(4, 1, 0x74),
        ims(0, 6, 0, 0x78),
        EntryRecord { device: device(3), ..parked_messages(8) },
        ims(1, 1, 0, 0x79),
        ims(0, 5, 1, 0x7a),
    ];
    batch(0..8).into_iter().chain(others).collect()
}
/// Messages of these.
const REQUESTED: usize = 8 + 4 + 4 + 1 + 8 + 1 + 1;

/// Routed ones move or park, parked ones are routed or stay.
fn targets(mapped: &[EntryRecord]) -> Vec<EntryRecord> {
    let target = |entry: &EntryRecord| match (entry.device, entry.index) {
        (_, 2 | 5 | 21) => park(entry),
        (of, _) if of == device(2) => park(entry),
        _ => moved(entry, 1, 0xa0),
    };
    mapped.iter().map(target).collect()
}

/// How irqfds are armed and taken off beside the calls.
#[derive(Clone, Copy, Debug)]
struct Beside {
    /// Maximum number that are armed ahead.
    armed: u32,
    /// Whether they are taken off later, by another thread.
    retires: bool,
}

struct Outcome {
    answer: Vec<EntryRecord>,
    status: Status,
}

impl FaultScene {
    fn prepare(self, beside: Beside) -> (ServiceFixture, Vec<EntryRecord>) {
        let fixture = ServiceFixture::with(&Config { armed_ahead: beside.armed, ..config() });
        fixture.service.set_retires(beside.retires);
        fixture.add(3, FakeDevice::with_msi(fixture.platform.clone(), 3, 32));
        if matches!(self, Self::Enable) {
            return (fixture, Vec::new());
        }
        fixture.enable();
        fixture.arm();
        let mapped =
            if matches!(self, Self::Map(_)) { requested() } else { fixture.map(&requested()).records };
        (fixture, mapped)
    }

    fn play(self, fixture: &ServiceFixture, mapped: &[EntryRecord]) -> Outcome {
        let answer = match self {
            Self::Enable => {
                let asked = EnableRecord::request(Service::FEATURES, None);
                let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
                return Outcome { answer: Vec::new(), status: answer.status };
            }
            Self::Disable => return Outcome { answer: Vec::new(), status: fixture.disable() },
            Self::Map(flags) => fixture.call(Operation::MAP, flags, mapped),
            Self::Retarget(flags) => fixture.call(Operation::RETARGET, flags, &targets(mapped)),
            Self::Unmap(flags) => {
                fixture.call(Operation::UNMAP, flags, &mapped.iter().map(named).collect::<Vec<_>>())
            }
        };
        Outcome { answer: answer.records, status: answer.status }
    }

    /// What stands in the kernel if all went well.
    fn is_complete(self, fixture: &ServiceFixture) -> bool {
        let now = fixture.platform.lock().footprint();
        let held = (now.routes.len(), now.irqfds.len(), now.started.len(), now.open.len());
        match self {
            Self::Enable => held == (0, 0, 0, 4),
            Self::Disable => held == (0, 0, 0, 0),
            // All but two entries and the eight messages that are parked.
            Self::Map(_) => held == (REQUESTED - 10, REQUESTED - 10, REQUESTED, 4),
            Self::Retarget(_) => held == (18, 18, REQUESTED, 4),
            Self::Unmap(_) => held == (0, 0, 0, 4),
        }
    }
}

/// The next request works, and nothing is left of the failed one.
fn recover(fixture: &ServiceFixture) {
    fixture.platform.lock().expect(None);
    fixture.service.set_retires(false);
    if fixture.service.lock().session.is_some() {
        let looked = fixture.query(&requested().iter().map(named_by_entry).collect::<Vec<_>>()).records;
        let held: Vec<_> = looked.iter().filter(|r| r.status == Status::OK).map(named).collect();
        if !held.is_empty() {
            assert_eq!(fixture.unmap(&held).status, Status::OK);
        }
        assert_eq!(fixture.disable(), Status::OK);
    }
    fixture.service.shut_down();
    fixture.assert_baseline();
    fixture.enable();
    let mapped = fixture.map(&requested());
    assert_eq!((mapped.status, mapped.header.done as usize), (Status::OK, requested().len()));
    assert_eq!(fixture.features().irtes as usize, REQUESTED);
    fixture.unmask(1, 3);
    fixture.delivered();
    fixture.raise(1, 3);
    assert_eq!(fixture.delivered(), [(300, 0x70)]);
    let unmapped = fixture.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>());
    assert_eq!(unmapped.status, Status::OK);
    fixture.assert_baseline();
}

/// O5: a record of a MAP or a RETARGET that failed left its entry as it was, with its handle and its pair.
fn assert_as_before(scene: FaultScene, fixture: &ServiceFixture, mapped: &[EntryRecord], outcome: &Outcome) {
    if !matches!(scene, FaultScene::Map(_) | FaultScene::Retarget(_)) {
        return;
    }
    let looked = fixture.query(&mapped.iter().map(named_by_entry).collect::<Vec<_>>()).records;
    let failed =
        outcome.answer.iter().zip(mapped.iter().zip(&looked)).filter(|(r, _)| r.status != Status::OK);
    for (_, (before, now)) in failed {
        match scene {
            FaultScene::Map(_) => assert_eq!(now.status, Status::STALE_HANDLE, "O5"),
            _ => assert_eq!(
                (now.handle, now.pair(), now.routing),
                (before.handle, before.pair(), before.routing),
                "O5"
            ),
        }
    }
}

/// One fault; answers whether it was met.
fn inject(scene: FaultScene, beside: Beside, after: u32, errno: i32, lasting: bool) -> bool {
    let (fixture, mapped) = scene.prepare(beside);
    let before = fixture.platform.lock().footprint();
    let logged = fixture.service.statistics().log_lines;
    let faults = |fixture: &ServiceFixture| fixture.platform.lock().faults.injected();
    match lasting {
        true => fixture.platform.lock().faults.fail_from(None, after, errno),
        false => fixture.platform.lock().faults.fail_once(None, after, errno),
    }
    let outcome = scene.play(&fixture, &mapped);
    fixture.platform.lock().faults.clear();
    if faults(&fixture) == 0 {
        return false;
    }
    let bad = outcome.status != Status::OK || outcome.answer.iter().any(|r| r.status != Status::OK);
    let error_reported = bad || fixture.service.statistics().log_lines > logged;
    assert!(error_reported || scene.is_complete(&fixture), "the failure was not reported");
    let undone =
        matches!(scene, FaultScene::Map(_) | FaultScene::Retarget(_)) && outcome.status == Status::ABORTED;
    if undone && !lasting {
        assert_eq!(fixture.platform.lock().footprint(), before, "O3");
    }
    let answered = |r: &&EntryRecord| r.status != Status::OK && !matches!(scene, FaultScene::Unmap(_));
    assert!(outcome.answer.iter().filter(answered).all(|r| (r.address, r.data, r.state) == (0, 0, 0)), "O5");
    if !lasting {
        assert_as_before(scene, &fixture, &mapped, &outcome);
    }
    recover(&fixture);
    true
}

/// Every call fails in turn; answers how many did.
fn sweep(scene: FaultScene, lasting: bool) -> u64 {
    // Nothing armed ahead, some of what is requested, and all of it.
    let ways = [(0, false), (5, false), (512, false), (0, true), (512, true)];
    ways.into_iter().map(|(armed, retires)| sweep_with(scene, Beside { armed, retires }, lasting)).sum()
}

fn sweep_with(scene: FaultScene, beside: Beside, lasting: bool) -> u64 {
    // What is done beside the calls does not depend on the errno.
    let errnos = if beside.armed == 0 && !beside.retires { &ERRNOS[..] } else { &ERRNOS[..1] };
    let mut met = 0;
    for &errno in errnos {
        for after in 0.. {
            let tried = catch_unwind(AssertUnwindSafe(|| inject(scene, beside, after, errno, lasting)));
            match tried {
                Ok(true) => met += 1,
                Ok(false) => break,
                Err(panic) => {
                    eprintln!(
                        "{scene:?}, {beside:?}: call {after} failed with errno {errno}, lasting: {lasting}"
                    );
                    resume_unwind(panic);
                }
            }
        }
    }
    println!("{scene:?}, {beside:?}, lasting {lasting}: {met} faults");
    met
}

const EACH: CallFlags = CallFlags::empty();
const WHOLE: CallFlags = CallFlags::ALL_OR_NOTHING;

#[test]
fn a_single_fault_is_told_undone_and_forgotten() {
    let scenes = [
        FaultScene::Enable,
        FaultScene::Disable,
        FaultScene::Map(EACH),
        FaultScene::Map(WHOLE),
        FaultScene::Retarget(EACH),
        FaultScene::Retarget(WHOLE),
        FaultScene::Unmap(EACH),
        FaultScene::Unmap(WHOLE),
    ];
    let met: u64 = scenes.into_iter().map(|scene| sweep(scene, false)).sum();
    println!("{met} single faults");
    assert!(met >= 1_000, "{met}");
}

#[test]
fn faults_that_last_are_told_and_forgotten_when_they_end() {
    let scenes = [
        FaultScene::Enable,
        FaultScene::Disable,
        FaultScene::Map(EACH),
        FaultScene::Map(WHOLE),
        FaultScene::Retarget(EACH),
        FaultScene::Retarget(WHOLE),
        FaultScene::Unmap(EACH),
    ];
    let met: u64 = scenes.into_iter().map(|scene| sweep(scene, true)).sum();
    println!("{met} places from which on everything failed");
    assert!(met >= 1_000, "{met}");
}

/// A fault of the host's meets the records that it is about, and only these.
#[test]
fn a_record_that_was_refused_is_not_given_the_failure_of_another() {
    let fixture = ServiceFixture::enabled();
    // The handle that the first record will have: a guest can guess it.
    let guessed = Handle::new(0, 1);
    fixture.platform.lock().faults.fail_once(Some(CallKind::Start), 0, libc::EIO);
    let answer = fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 5, 0, 0x52).with_handle(guessed)]);
    assert_eq!(statuses(&answer.records), [Status::DEVICE_ERROR, Status::RESERVED_NOT_ZERO]);
    // O5
    assert_eq!((answer.records[0].handle, answer.records[1].handle), (Handle::NONE, guessed));
    fixture.assert_baseline();
}

/// A parked entry whose old route could not be dropped does not get its irqfd back by it.
#[test]
fn an_entry_that_stayed_parked_is_never_attached_to_an_old_route() {
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    let fail = |kind, after| fixture.platform.lock().faults.fail_once(Some(kind), after, libc::ENOMEM);
    fail(CallKind::Attach, 0);
    fail(CallKind::SetRoutes, 1);
    assert_eq!(statuses(&fixture.retarget(&[moved(&record, 1, 0x52)]).records), [Status::HOST_ERROR]);
    fail(CallKind::SetRoutes, 0);
    assert_eq!(statuses(&fixture.retarget(&[moved(&record, 0, 0x53)]).records), [Status::HOST_ERROR]);
    assert!(fixture.platform.lock().footprint().irqfds.is_empty(), "it is parked");
    assert_eq!(fixture.query(&[query_of(0, 3)]).records[0].state, pvir_abi::EntryState::PARKED.bits());
    assert_eq!(fixture.retarget(&[moved(&record, 300, 0x54)]).status, Status::OK);
    fixture.unmap(&[named(&record)]);
    fixture.assert_baseline();
}
