//! The rate generator.

use super::super::registers::{RATE_COUNT, RATE_FIRST, RATE_INTERVAL, RATE_ROUNDS, RATE_RUN};
use super::*;

/// Interrupts 0 and 1, started and unmasked.
fn tested() -> (DeviceUnderTest, [EventFd; 2]) {
    let mut tested = DeviceUnderTest::open();
    let eventfds = [0, 1].map(|entry: u32| {
        let (pair, eventfd) = tested.start(Store::MSIX, entry);
        tested.program(entry.into(), pair);
        tested.set_mask(entry.into(), false);
        eventfd
    });
    (tested, eventfds)
}

impl Guest {
    fn run(&self, first: u32, count: u32, interval: u32, rounds: u32) {
        let values =
            [(RATE_FIRST, first), (RATE_COUNT, count), (RATE_INTERVAL, interval), (RATE_ROUNDS, rounds)];
        values.iter().for_each(|(register, value)| self.registers.write(*register, *value));
        self.registers.write(RATE_RUN, 1);
    }

    fn left(&self) -> u32 {
        self.registers.read(RATE_RUN)
    }
}

#[test]
fn every_round_raises_the_whole_range() {
    let (tested, eventfds) = tested();
    tested.run(0, 2, 20, 500);
    assert!(eventually(|| tested.left() == 0));
    assert_eq!(eventfds.map(|eventfd| eventfd.read().unwrap()), [500, 500]);
    assert_eq!(tested.model.counts(2).raised, 0);
}

#[test]
fn after_a_stop_nothing_is_raised() {
    let (tested, _) = tested();
    tested.run(0, 1, 1, u32::MAX);
    assert!(eventually(|| tested.counts(0).0 > 10));
    tested.registers.write(RATE_RUN, 0);
    let (raised, left) = (tested.model.counts(0).raised, tested.left());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((tested.model.counts(0).raised, left), (raised, 0));
}

#[test]
fn a_new_plan_takes_the_place_of_the_old() {
    let (tested, _) = tested();
    tested.run(0, 1, u32::MAX, 1000);
    assert!(eventually(|| tested.counts(0).0 == 1), "the first round is at once");
    tested.run(1, u32::MAX, 1, 3);
    assert!(eventually(|| tested.left() == 0));
    assert_eq!((tested.model.counts(0).raised, tested.model.counts(1).raised), (1, 3));
    assert_eq!(tested.model.counts(6).raised, 3, "the range ends with the device");
}

#[test]
fn plans_of_nothing_do_nothing() {
    let (tested, _) = tested();
    tested.run(0, 1, 1, 0);
    assert_eq!(tested.left(), 0);
    tested.run(7, 1, 1, 5);
    tested.run(0, 0, 1, 5);
    assert!(eventually(|| tested.left() == 0));
    assert_eq!((0..7).map(|number| tested.model.counts(number).raised).sum::<u64>(), 0);
}

/// An entry that is stopped in the middle: what was sent before is all there is.
#[test]
fn an_entry_may_be_stopped_while_it_is_raised() {
    let (mut tested, [eventfd, _]) = tested();
    tested.run(0, 1, 1, u32::MAX);
    assert!(eventually(|| tested.counts(0).0 > 10));
    tested.device.stop(Store::MSIX, 0, 1).unwrap();
    let sent = tested.model.counts(0).sent;
    assert_eq!(eventfd.read().unwrap(), sent);
    let raised = tested.model.counts(0).raised;
    assert!(eventually(|| tested.model.counts(0).raised > raised + 10));
    assert!(eventfd.read().is_err());
}

#[test]
fn the_thread_ends_with_the_device() {
    let (tested, [eventfd, _]) = tested();
    tested.run(0, 1, 1, u32::MAX);
    assert!(eventually(|| tested.counts(0).0 > 10));
    let model = Arc::downgrade(&tested.model);
    drop(tested);
    assert!(eventually(|| model.strong_count() == 0));
    let _ = eventfd.read();
    std::thread::sleep(Duration::from_millis(5));
    assert!(eventfd.read().is_err());
}
