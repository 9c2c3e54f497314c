//! The real KVM with irqfds that are taken off after UNMAP has returned.

use super::*;
use patience::Patience;
use pvir_host::service::PrearmThread;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const ENTRIES: u32 = 8;
const ROUNDS: u32 = 300;

/// U1, with interrupts in flight: entries are raised all the time by another thread, mapped, unmapped, and mapped again
/// with the same eventfds to other vectors. Nothing arrives by a vector once its UNMAP has returned.
#[test]
fn nothing_arrives_after_an_unmap_that_left_its_irqfds() {
    let Some(fixture) = fixture_with(None, 64) else { return };
    let prearm = PrearmThread::start(Arc::clone(&fixture.service)).unwrap();
    let (device, ends) = (fixture.device.clone(), Arc::new(AtomicBool::new(false)));
    let raiser = thread::spawn({
        let ends = Arc::clone(&ends);
        move || {
            while !ends.load(Ordering::Relaxed) {
                (0..ENTRIES).for_each(|index| device.raise(index));
            }
        }
    });
    let mut arrived = 0;
    for round in 0..ROUNDS {
        let first = if round % 2 == 0 { 0x40 } else { 0x80 };
        let vector = |index: u32| u8::try_from(first + index).unwrap();
        let asked: Vec<_> =
            (0..ENTRIES).map(|index| routed(index, APIC_IDS[index as usize % 3], vector(index))).collect();
        let (status, mapped) = fixture.call(Operation::MAP, &asked);
        assert_eq!(status, Status::OK);
        mapped.iter().for_each(|record| fixture.program(record.index, record.pair()));
        let expected: BTreeSet<u8> = (0..ENTRIES).map(vector).collect();
        let mut patience = Patience::new(PATIENCE);
        while fixture.requested().is_empty() && !patience.is_over() {
            thread::yield_now();
        }
        let requested = fixture.requested();
        assert!(
            requested.iter().all(|(_, vector)| expected.contains(vector)),
            "round {round}: {requested:?}"
        );
        arrived += usize::from(!requested.is_empty());
        let given_back: Vec<_> = mapped
            .iter()
            .map(|r| EntryRecord::query(super::device(), Store::MSIX, r.index).with_handle(r.handle))
            .collect();
        assert_eq!(fixture.call(Operation::UNMAP, &given_back).0, Status::OK);
        fixture.take_requested();
        if round % 50 == 0 {
            fixture.assert_nothing_more(&[]);
        } else {
            assert_eq!(fixture.requested(), []);
        }
    }
    ends.store(true, Ordering::Relaxed);
    raiser.join().unwrap();
    drop(prearm);
    fixture.assert_nothing_more(&[]);
    assert_eq!(arrived, ROUNDS as usize, "of each round something did");
    let taken_off = fixture.ioctls("KVM_IRQFD (de-assign)") + fixture.ioctls("KVM_IRQFD (close)");
    assert!(taken_off >= u64::from(ENTRIES * (ROUNDS - 1)), "every irqfd was used once");
}
