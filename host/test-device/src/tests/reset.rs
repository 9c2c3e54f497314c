//! A function level reset.

use super::super::registers::{RATE_COUNT, RATE_INTERVAL, RATE_ROUNDS, RATE_RUN, TIMES};
use super::*;

#[test]
fn after_a_reset_the_device_is_as_at_the_start_but_for_irtes_and_counts() {
    let mut tested = DeviceUnderTest::open();
    let (pair, eventfd) = tested.start(Store::MSIX, 1);
    tested.program(1, pair);
    tested.set_mask(1, false);
    tested.set_ims_base(0x2000);
    tested.set_sequences(0x3000);
    tested.registers.write(TIMES, 5);
    tested.raise(1);
    assert_eq!(eventfd.read().unwrap(), 5);
    tested.registers.reset();
    let registers = [TIMES, SELECT, IMS_BASE_LOW, IMS_BASE_HIGH, SEQUENCES_HIGH, RATE_COUNT, RATE_INTERVAL];
    assert_eq!(registers.map(|register| tested.registers.read(register)), [1, 0, 0, 0, 0, 1, 1000]);
    let entry = tested.model.table().unwrap().entry(1).unwrap();
    assert_eq!((entry.message, entry.masked), (Pair::default(), true));
    // The bus master is off, and the entry has no message.
    tested.set_mask(1, false);
    tested.raise(1);
    assert_eq!(tested.counts(1), (5, 1, 0));
    tested.model.set_bus_master(true);
    tested.program(1, pair);
    tested.raise(1);
    assert_eq!((tested.counts(1), eventfd.read().unwrap()), ((6, 1, 0), 1), "the pair is the same");
    assert_eq!(tested.model.counts(1).raised, 7);
}

#[test]
fn what_was_held_or_about_to_be_raised_is_gone() {
    let mut tested = DeviceUnderTest::open();
    let (pair, eventfd) = tested.start(Store::MSIX, 0);
    tested.raise(0);
    assert!(tested.model.table().unwrap().is_pending(0).unwrap());
    for (register, value) in [(RATE_INTERVAL, 1), (RATE_ROUNDS, u32::MAX), (RATE_RUN, 1)] {
        tested.registers.write(register, value);
    }
    assert!(eventually(|| tested.model.counts(0).raised > 3));
    tested.registers.reset();
    let raised = tested.model.counts(0).raised;
    tested.model.set_bus_master(true);
    tested.program(0, pair);
    tested.set_mask(0, false);
    std::thread::sleep(Duration::from_millis(20));
    assert!(!tested.model.table().unwrap().is_pending(0).unwrap());
    assert_eq!((tested.model.counts(0).raised, tested.registers.read(RATE_RUN)), (raised, 0));
    assert!(eventfd.read().is_err(), "nothing was sent");
}
