//! Every call of the kernel fails in turn under whatever a guest does with a trapped store. Afterwards the registers say
//! what is wanted, and the next access brings it about: nothing that was held is lost, nothing is sent where it should
//! not be.

use super::*;
use crate::fake::Kind;
use crate::trapped::StoreArea as Where;

const ERRNOS: [i32; 4] = [libc::EIO, libc::ENOMEM, libc::ENOSPC, libc::EBUSY];

#[derive(Clone, Copy, Debug)]
enum Scene {
    FirstUse,
    Mask,
    Unmask,
    Change,
    FunctionMask,
    Off,
    Enable,
    Disable,
    End,
}

const SCENES: [Scene; 9] = [
    Scene::FirstUse,
    Scene::Mask,
    Scene::Unmask,
    Scene::Change,
    Scene::FunctionMask,
    Scene::Off,
    Scene::Enable,
    Scene::Disable,
    Scene::End,
];

impl Scene {
    /// Entries 0 to 3 are live; 1 is masked, with an interrupt held.
    fn prepare(self) -> Bench {
        let bench = Bench::new();
        control(&bench, 0x8000);
        if !matches!(self, Self::FirstUse) {
            for index in 0..4u8 {
                bench.live(0, index.into(), 1, 0x50 + index);
            }
            word(&bench, 1, 3, 1);
            bench.raise(0, 1);
        }
        if matches!(self, Self::Disable) {
            bench.enable();
            assert_eq!(bench.map(&batch(0..4)).status, Status::OK);
        }
        bench.delivered();
        bench
    }

    fn play(self, bench: &Bench) {
        match self {
            Self::FirstUse => bench.live(0, 1, 1, 0x51),
            Self::Mask => word(bench, 2, 3, 1),
            Self::Unmask => word(bench, 1, 3, 0),
            Self::Change => word(bench, 2, 2, 0x77),
            Self::FunctionMask => control(bench, 0xc000),
            Self::Off => control(bench, 0),
            Self::Enable => {
                let asked = EnableRecord::request(Service::FEATURES, None);
                bench.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
            }
            Self::Disable => {
                bench.disable();
            }
            Self::End => bench.service.shut_down(),
        }
    }
}

fn control(bench: &Bench, bits: u16) {
    put(bench, Where::Capability, 2, &bits.to_le_bytes());
}

fn word(bench: &Bench, index: u64, word: u64, value: u32) {
    put(bench, Where::Table, index * 16 + word * 4, &value.to_le_bytes());
}

fn put(bench: &Bench, area: Where, offset: u64, data: &[u8]) {
    put_to(bench, 0, area, offset, data);
}

fn put_to(bench: &Bench, number: u8, area: Where, offset: u64, data: &[u8]) {
    bench.world.lock().expect(None);
    assert!(bench.service.trapped_write(device(number), area, offset, data).is_ok());
    bench.assert_order();
}

/// One fault; answers whether it was met.
fn inject(scene: Scene, after: u32, errno: i32, lasting: bool) -> bool {
    let bench = scene.prepare();
    let logged = bench.service.statistics().log_lines;
    match lasting {
        true => bench.world.lock().faults.fail_from(None, after, errno),
        false => bench.world.lock().faults.fail_once(None, after, errno),
    }
    scene.play(&bench);
    bench.world.lock().faults.clear();
    if bench.world.lock().faults.injected() == 0 {
        return false;
    }
    assert!(bench.service.statistics().log_lines > logged, "nobody was told");
    bench.assert_order();
    if bench.service.lock().session.is_some() {
        assert_eq!(bench.disable(), Status::OK);
    } else if matches!(scene, Scene::Enable) {
        // T3: as it was, and acting; what was held is held still.
        word(&bench, 0, 2, 0x50);
        word(&bench, 1, 3, 0);
        assert_eq!(bench.delivered(), [(1, 0x51)], "T3");
    }
    // Whatever happened, all of it works with the next accesses.
    control(&bench, 0x8000);
    for index in 0..4u8 {
        bench.live(0, index.into(), 300, 0x60 + index);
    }
    bench.delivered();
    for index in 0..4u8 {
        bench.raise(0, index.into());
        assert_eq!(bench.delivered(), [(300, 0x60 + index)]);
        word(&bench, index.into(), 3, 1);
        bench.raise(0, index.into());
        assert_eq!(bench.delivered(), []);
        word(&bench, index.into(), 3, 0);
        assert_eq!(bench.delivered(), [(300, 0x60 + index)]);
    }
    bench.service.shut_down();
    assert!(bench.world.lock().footprint().trapped.is_empty());
    bench.assert_baseline();
    true
}

#[test]
fn every_fault_is_told_and_mended_by_the_next_access() {
    let mut met = 0u32;
    for scene in SCENES {
        for (errno, lasting) in ERRNOS.into_iter().flat_map(|errno| [(errno, false), (errno, true)]) {
            for after in 0.. {
                let played = std::panic::catch_unwind(|| inject(scene, after, errno, lasting));
                match played {
                    Ok(true) => met += 1,
                    Ok(false) => break,
                    Err(panic) => {
                        eprintln!("{scene:?}: call {after} failed with errno {errno}, lasting: {lasting}");
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }
    println!("{met} faults");
    assert!(met >= 300, "{met}");
}

/// Rather silent than sent to where it went before.
#[test]
fn a_message_that_cannot_be_routed_is_held() {
    let bench = Scene::Change.prepare();
    bench.world.lock().faults.fail_once(Some(Kind::SetRoutes), 0, libc::ENOMEM);
    word(&bench, 2, 2, 0x77);
    bench.raise(0, 2);
    assert_eq!(bench.delivered(), []);
    word(&bench, 2, 2, 0x77);
    assert_eq!(bench.delivered(), [(1, 0x77)]);
}

/// What a guest can make the host do with one access is bounded, however many messages the host has refused.
#[test]
fn an_access_to_one_message_does_not_try_the_others_again() {
    let bench = Bench::with(&Config { max_irtes: 2, ..config() });
    control(&bench, 0x8000);
    for index in 0..64u8 {
        bench.live(0, index.into(), 1, 0x40 + index);
    }
    let calls = |bench: &Bench| bench.world.lock().calls().len();
    word(&bench, 0, 2, 0x40);
    assert_eq!(calls(&bench), 0, "it is sent as it was");
    word(&bench, 40, 2, 0x60);
    assert_eq!(calls(&bench), 0, "there is no GSI for it, and the other 61 are not asked for");
    // A GSI becomes free: whoever was refused may try again, with the next access to the store.
    bench.world.lock().expect(None);
    bench.service.lock().end_trapped();
    control(&bench, 0x8000);
    for index in 60..64u8 {
        bench.live(0, index.into(), 1, 0x40 + index);
    }
    bench.raise(0, 60);
    bench.raise(0, 63);
    assert_eq!(bench.delivered(), [(1, 0x7c)], "the first two have the GSIs");
}

#[test]
fn what_was_refused_is_tried_again_once_something_is_free() {
    let bench = Scene::Change.prepare();
    bench.world.lock().faults.fail_once(Some(Kind::SetRoutes), 0, libc::ENOMEM);
    word(&bench, 2, 2, 0x77);
    bench.raise(0, 2);
    word(&bench, 3, 2, 0x53);
    assert_eq!(bench.delivered(), [], "another message was accessed, and nothing has become free");
    bench.world.lock().expect(None);
    // Another device of the VM gives its interrupts back.
    put_to(&bench, 1, Where::Capability, 2, &0x8000u16.to_le_bytes());
    bench.live(1, 0, 1, 0x60);
    put_to(&bench, 1, Where::Capability, 2, &0u16.to_le_bytes());
    word(&bench, 3, 2, 0x53);
    assert_eq!(bench.delivered(), [(1, 0x77)]);
}
