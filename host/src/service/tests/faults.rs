//! Every call of the kernel fails once, in turn, with every errno, under every operation.

use super::*;
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
enum Scene {
    Enable,
    Disable,
    Map(CallFlags),
    Retarget(CallFlags),
    Unmap(CallFlags),
}

/// Two devices, three runs, parked ones among them.
fn wanted() -> Vec<Entry> {
    let parked = [parked(0, 20), parked(0, 21)];
    batch(0..8).into_iter().chain(parked).chain([routed(1, 3, 300, 0x70), routed(1, 2, 1, 0x71)]).collect()
}

/// Routed ones move or park, parked ones are routed or stay.
fn targets(mapped: &[Entry]) -> Vec<Entry> {
    let target = |entry: &Entry| match entry.index {
        2 | 5 | 21 => park(entry),
        _ => moved(entry, 1, 0x99),
    };
    mapped.iter().map(target).collect()
}

struct Told {
    answer: Vec<Entry>,
    status: Status,
}

impl Scene {
    fn prepare(self) -> (Bench, Vec<Entry>) {
        let bench = Bench::new();
        if matches!(self, Self::Enable) {
            return (bench, Vec::new());
        }
        bench.enable();
        let mapped = if matches!(self, Self::Map(_)) { wanted() } else { bench.map(&wanted()).records };
        (bench, mapped)
    }

    fn play(self, bench: &Bench, mapped: &[Entry]) -> Told {
        let answer = match self {
            Self::Enable => {
                let asked = EnableRecord::request(Service::FEATURES, None);
                let answer = bench.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
                return Told { answer: Vec::new(), status: answer.status };
            }
            Self::Disable => return Told { answer: Vec::new(), status: bench.disable() },
            Self::Map(flags) => bench.call(Operation::MAP, flags, mapped),
            Self::Retarget(flags) => bench.call(Operation::RETARGET, flags, &targets(mapped)),
            Self::Unmap(flags) => {
                bench.call(Operation::UNMAP, flags, &mapped.iter().map(named).collect::<Vec<_>>())
            }
        };
        Told { answer: answer.records, status: answer.status }
    }

    /// What stands in the kernel if all went well.
    fn is_complete(self, bench: &Bench) -> bool {
        let now = bench.world.lock().footprint();
        let held = (now.routes.len(), now.irqfds.len(), now.started.len(), now.open.len());
        match self {
            Self::Enable => held == (0, 0, 0, 2),
            Self::Disable => held == (0, 0, 0, 0),
            Self::Map(_) => held == (10, 10, 12, 2),
            Self::Retarget(_) => held == (9, 9, 12, 2),
            Self::Unmap(_) => held == (0, 0, 0, 2),
        }
    }
}

/// The next request works, and nothing is left of the failed one.
fn recover(bench: &Bench) {
    if bench.service.lock().session.is_some() {
        let looked = bench.query(&wanted().iter().map(named_by_entry).collect::<Vec<_>>()).records;
        let held: Vec<_> = looked.iter().filter(|r| r.status == Status::OK).map(named).collect();
        if !held.is_empty() {
            assert_eq!(bench.unmap(&held).status, Status::OK);
        }
        assert_eq!(bench.disable(), Status::OK);
    }
    bench.service.shut_down();
    bench.assert_baseline();
    bench.enable();
    let mapped = bench.map(&wanted());
    assert_eq!((mapped.status, mapped.header.done), (Status::OK, 12));
    bench.unmask(1, 3);
    bench.delivered();
    bench.raise(1, 3);
    assert_eq!(bench.delivered(), [(300, 0x70)]);
    let unmapped = bench.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>());
    assert_eq!(unmapped.status, Status::OK);
    bench.assert_baseline();
}

fn named_by_entry(entry: &Entry) -> Entry {
    Entry::query(entry.device, entry.store, entry.index)
}

/// O5: a record of a MAP or a RETARGET that failed left its entry as it was, with its handle and its pair.
fn assert_as_before(scene: Scene, bench: &Bench, mapped: &[Entry], told: &Told) {
    if !matches!(scene, Scene::Map(_) | Scene::Retarget(_)) {
        return;
    }
    let looked = bench.query(&mapped.iter().map(named_by_entry).collect::<Vec<_>>()).records;
    let failed = told.answer.iter().zip(mapped.iter().zip(&looked)).filter(|(r, _)| r.status != Status::OK);
    for (_, (before, now)) in failed {
        match scene {
            Scene::Map(_) => assert_eq!(now.status, Status::STALE_HANDLE, "O5"),
            _ => assert_eq!(
                (now.handle, now.pair(), now.routing),
                (before.handle, before.pair(), before.routing),
                "O5"
            ),
        }
    }
}

/// One fault; answers whether it was met.
fn inject(scene: Scene, after: u32, errno: i32, lasting: bool) -> bool {
    let (bench, mapped) = scene.prepare();
    let before = bench.world.lock().footprint();
    let logged = bench.service.statistics().log_lines;
    let faults = |bench: &Bench| bench.world.lock().faults.injected();
    match lasting {
        true => bench.world.lock().faults.fail_from(None, after, errno),
        false => bench.world.lock().faults.fail_once(None, after, errno),
    }
    let told = scene.play(&bench, &mapped);
    bench.world.lock().faults.clear();
    if faults(&bench) == 0 {
        return false;
    }
    let bad = told.status != Status::OK || told.answer.iter().any(|r| r.status != Status::OK);
    let error_told = bad || bench.service.statistics().log_lines > logged;
    assert!(error_told || scene.is_complete(&bench), "nobody was told");
    let undone = matches!(scene, Scene::Map(_) | Scene::Retarget(_)) && told.status == Status::ABORTED;
    if undone && !lasting {
        assert_eq!(bench.world.lock().footprint(), before, "O3");
    }
    let answered = |r: &&Entry| r.status != Status::OK && !matches!(scene, Scene::Unmap(_));
    assert!(told.answer.iter().filter(answered).all(|r| (r.address, r.data, r.state) == (0, 0, 0)), "O5");
    if !lasting {
        assert_as_before(scene, &bench, &mapped, &told);
    }
    recover(&bench);
    true
}

/// Every call fails in turn; answers how many did.
fn sweep(scene: Scene, lasting: bool) -> u64 {
    let mut met = 0;
    for errno in ERRNOS {
        for after in 0.. {
            let tried = catch_unwind(AssertUnwindSafe(|| inject(scene, after, errno, lasting)));
            match tried {
                Ok(true) => met += 1,
                Ok(false) => break,
                Err(panic) => {
                    eprintln!("{scene:?}: call {after} failed with errno {errno}, lasting: {lasting}");
                    resume_unwind(panic);
                }
            }
        }
    }
    println!("{scene:?}, lasting {lasting}: {met} faults");
    met
}

const EACH: CallFlags = CallFlags::empty();
const WHOLE: CallFlags = CallFlags::ALL_OR_NOTHING;

#[test]
fn a_single_fault_is_told_undone_and_forgotten() {
    let scenes = [
        Scene::Enable,
        Scene::Disable,
        Scene::Map(EACH),
        Scene::Map(WHOLE),
        Scene::Retarget(EACH),
        Scene::Retarget(WHOLE),
        Scene::Unmap(EACH),
        Scene::Unmap(WHOLE),
    ];
    let met: u64 = scenes.into_iter().map(|scene| sweep(scene, false)).sum();
    println!("{met} single faults");
    assert!(met >= 1_000, "{met}");
}

#[test]
fn faults_that_last_are_told_and_forgotten_when_they_end() {
    let scenes = [
        Scene::Enable,
        Scene::Disable,
        Scene::Map(EACH),
        Scene::Map(WHOLE),
        Scene::Retarget(EACH),
        Scene::Retarget(WHOLE),
        Scene::Unmap(EACH),
    ];
    let met: u64 = scenes.into_iter().map(|scene| sweep(scene, true)).sum();
    println!("{met} places from which on everything failed");
    assert!(met >= 1_000, "{met}");
}
