//! Every call of the kernel fails in turn under whatever a guest does with a trapped store. Afterwards the registers
//! hold the desired state, and the next access brings the lines into it: no interrupt is lost, and none is sent to a
//! vCPU that should not get it.

use super::*;
use crate::fake::CallKind;
use crate::trapped::StoreArea as Where;

const ERRNOS: [i32; 4] = [libc::EIO, libc::ENOMEM, libc::ENOSPC, libc::EBUSY];

#[derive(Clone, Copy, Debug)]
enum TrappedScene {
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

const SCENES: [TrappedScene; 9] = [
    TrappedScene::FirstUse,
    TrappedScene::Mask,
    TrappedScene::Unmask,
    TrappedScene::Change,
    TrappedScene::FunctionMask,
    TrappedScene::Off,
    TrappedScene::Enable,
    TrappedScene::Disable,
    TrappedScene::End,
];

impl TrappedScene {
    /// Entries 0 to 3 are live; 1 is masked, with an interrupt held.
    fn prepare(self) -> ServiceFixture {
        let fixture = ServiceFixture::new();
        control(&fixture, 0x8000);
        if !matches!(self, Self::FirstUse) {
            for index in 0..4u8 {
                fixture.live(0, index.into(), 1, 0x50 + index);
            }
            word(&fixture, 1, 3, 1);
            fixture.raise(0, 1);
        }
        if matches!(self, Self::Disable) {
            fixture.enable();
            assert_eq!(fixture.map(&batch(0..4)).status, Status::OK);
        }
        fixture.delivered();
        fixture
    }

    fn play(self, fixture: &ServiceFixture) {
        match self {
            Self::FirstUse => fixture.live(0, 1, 1, 0x51),
            Self::Mask => word(fixture, 2, 3, 1),
            Self::Unmask => word(fixture, 1, 3, 0),
            Self::Change => word(fixture, 2, 2, 0x77),
            Self::FunctionMask => control(fixture, 0xc000),
            Self::Off => control(fixture, 0),
            Self::Enable => {
                let asked = EnableRecord::request(Service::FEATURES, None);
                fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
            }
            Self::Disable => {
                fixture.disable();
            }
            Self::End => fixture.service.shut_down(),
        }
    }
}

fn control(fixture: &ServiceFixture, bits: u16) {
    put(fixture, Where::Capability, 2, &bits.to_le_bytes());
}

fn word(fixture: &ServiceFixture, index: u64, word: u64, value: u32) {
    put(fixture, Where::Table, index * 16 + word * 4, &value.to_le_bytes());
}

fn put(fixture: &ServiceFixture, area: Where, offset: u64, data: &[u8]) {
    put_to(fixture, 0, area, offset, data);
}

fn put_to(fixture: &ServiceFixture, number: u8, area: Where, offset: u64, data: &[u8]) {
    fixture.platform.lock().expect(None);
    assert!(fixture.service.trapped_write(device(number), area, offset, data, |_| {}).is_ok());
    fixture.assert_order();
}

/// One fault; answers whether it was met.
fn inject(scene: TrappedScene, after: u32, errno: i32, lasting: bool) -> bool {
    let fixture = scene.prepare();
    let logged = fixture.service.statistics().log_lines;
    match lasting {
        true => fixture.platform.lock().faults.fail_from(None, after, errno),
        false => fixture.platform.lock().faults.fail_once(None, after, errno),
    }
    scene.play(&fixture);
    fixture.platform.lock().faults.clear();
    if fixture.platform.lock().faults.injected() == 0 {
        return false;
    }
    assert!(fixture.service.statistics().log_lines > logged, "nothing was logged");
    fixture.assert_order();
    if fixture.service.lock().session.is_some() {
        assert_eq!(fixture.disable(), Status::OK);
    } else if matches!(scene, TrappedScene::Enable) {
        // T3: as it was, and acting; what was held is held still.
        word(&fixture, 0, 2, 0x50);
        word(&fixture, 1, 3, 0);
        assert_eq!(fixture.delivered(), [(1, 0x51)], "T3");
    }
    // Whatever happened, all of it works with the next accesses.
    control(&fixture, 0x8000);
    for index in 0..4u8 {
        fixture.live(0, index.into(), 300, 0x60 + index);
    }
    fixture.delivered();
    for index in 0..4u8 {
        fixture.raise(0, index.into());
        assert_eq!(fixture.delivered(), [(300, 0x60 + index)]);
        word(&fixture, index.into(), 3, 1);
        fixture.raise(0, index.into());
        assert_eq!(fixture.delivered(), []);
        word(&fixture, index.into(), 3, 0);
        assert_eq!(fixture.delivered(), [(300, 0x60 + index)]);
    }
    fixture.service.shut_down();
    assert!(fixture.platform.lock().footprint().trapped.is_empty());
    fixture.assert_baseline();
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
    let fixture = TrappedScene::Change.prepare();
    fixture.platform.lock().faults.fail_once(Some(CallKind::SetRoutes), 0, libc::ENOMEM);
    word(&fixture, 2, 2, 0x77);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), []);
    word(&fixture, 2, 2, 0x77);
    assert_eq!(fixture.delivered(), [(1, 0x77)]);
}

/// What a guest can make the host do with one access is bounded, however many messages the host has refused.
#[test]
fn an_access_to_one_message_does_not_try_the_others_again() {
    let fixture = ServiceFixture::with(&Config { max_irtes: 2, ..config() });
    control(&fixture, 0x8000);
    for index in 0..64u8 {
        fixture.live(0, index.into(), 1, 0x40 + index);
    }
    let calls = |fixture: &ServiceFixture| fixture.platform.lock().calls().len();
    word(&fixture, 0, 2, 0x40);
    assert_eq!(calls(&fixture), 0, "it is sent as it was");
    word(&fixture, 40, 2, 0x60);
    assert_eq!(calls(&fixture), 0, "there is no GSI for it, and the other 61 are not asked for");
    // A GSI becomes free: a message that was refused may try again, with the next access to the store.
    fixture.platform.lock().expect(None);
    fixture.service.lock().end_trapped();
    control(&fixture, 0x8000);
    for index in 60..64u8 {
        fixture.live(0, index.into(), 1, 0x40 + index);
    }
    fixture.raise(0, 60);
    fixture.raise(0, 63);
    assert_eq!(fixture.delivered(), [(1, 0x7c)], "the first two have the GSIs");
}

#[test]
fn what_was_refused_is_tried_again_once_something_is_free() {
    let fixture = TrappedScene::Change.prepare();
    fixture.platform.lock().faults.fail_once(Some(CallKind::SetRoutes), 0, libc::ENOMEM);
    word(&fixture, 2, 2, 0x77);
    fixture.raise(0, 2);
    word(&fixture, 3, 2, 0x53);
    assert_eq!(fixture.delivered(), [], "another message was accessed, and nothing has become free");
    fixture.platform.lock().expect(None);
    // Another device of the VM gives its interrupts back.
    put_to(&fixture, 1, Where::Capability, 2, &0x8000u16.to_le_bytes());
    fixture.live(1, 0, 1, 0x60);
    put_to(&fixture, 1, Where::Capability, 2, &0u16.to_le_bytes());
    word(&fixture, 3, 2, 0x53);
    assert_eq!(fixture.delivered(), [(1, 0x77)]);
}

/// What became free is the bound of what is tried again.
#[test]
fn an_access_tries_no_more_of_the_others_than_became_free() {
    let fixture = ServiceFixture::with(&Config { max_irtes: 2, ..config() });
    control(&fixture, 0x8000);
    put_to(&fixture, 1, Where::Capability, 2, &0x8000u16.to_le_bytes());
    fixture.live(1, 0, 1, 0x30);
    for index in 0..64u8 {
        fixture.live(0, index.into(), 1, 0x40 + index);
    }
    let refused = fixture.service.statistics().log_lines;
    // One interrupt is stopped, and one GSI comes back.
    put_to(&fixture, 1, Where::Capability, 2, &0u16.to_le_bytes());
    word(&fixture, 0, 2, 0x40);
    assert_eq!(fixture.service.statistics().log_lines, refused + 1, "one of two had the GSI");
    word(&fixture, 0, 2, 0x40);
    assert_eq!(fixture.service.statistics().log_lines, refused + 1, "nothing has become free since");
}
