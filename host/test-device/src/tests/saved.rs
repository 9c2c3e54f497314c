//! The device in a snapshot.

use super::super::registers::{RAISED, RATE_COUNT, RATE_FIRST, RATE_INTERVAL, RATE_ROUNDS, RATE_RUN, TIMES};
use super::super::saved::{restore, save};
use super::*;

impl DeviceUnderTest {
    fn inside(&self) -> Vec<u8> {
        self.model.set_paused(true);
        save(&self.model, &self.registers).unwrap()
    }

    /// Three MSI-X entries and four of IMS, open, with what another device has held inside.
    fn restored(inside: &[u8]) -> Self {
        let mut tested = Self::new(MessageStore::Msix, 3, 4);
        tested.model.set_paused(true);
        restore(&tested.model, &tested.registers, inside).unwrap();
        tested.device.open().unwrap();
        tested.model.set_paused(false);
        tested
    }
}

#[test]
fn what_is_pending_is_sent_by_the_new_pair_and_the_old_one_is_dead() {
    let mut before = DeviceUnderTest::open();
    let (old, eventfd) = before.start(Store::MSIX, 1);
    let (old_ims, _ims) = before.start(Store::IMS, 2);
    before.set_sequences(0x3000);
    before.registers.write(TIMES, 5);
    before.raise(1);
    let mut after = DeviceUnderTest::restored(&before.inside());
    assert!(after.model.table().unwrap().is_pending(1).unwrap());
    assert_eq!((after.counts(1), after.registers.read(TIMES)), ((0, 0, 5), 5));
    drop((before, eventfd));

    let (new, eventfd) = after.start(Store::MSIX, 1);
    let (new_ims, _ims) = after.start(Store::IMS, 2);
    assert!(new != old && new_ims != old_ims);
    after.program(2, old);
    after.set_mask(2, false);
    after.registers.write(TIMES, 1);
    after.raise(2);
    assert_eq!(after.counts(2), (0, 1, 0), "blocked");
    assert!(eventfd.read().is_err());
    after.program(1, new);
    after.set_mask(1, false);
    assert!(eventually(|| eventfd.read().is_ok()));
    after.raise(1);
    assert_eq!((after.sequence(0x3008), after.counts(1)), (6, (2, 0, 5)));
}

#[test]
fn a_paused_device_raises_nothing_and_a_restored_one_goes_on() {
    let before = DeviceUnderTest::open();
    for (register, value) in
        [(RATE_FIRST, 1), (RATE_COUNT, 2), (RATE_INTERVAL, 50), (RATE_ROUNDS, 200), (RATE_RUN, 1)]
    {
        before.registers.write(register, value);
    }
    assert!(eventually(|| before.model.counts(1).raised > 5));
    let inside = before.inside();
    let counts = before.model.counts(1);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(before.model.counts(1), counts);

    let after = DeviceUnderTest::restored(&inside);
    assert_eq!(after.registers.read(RATE_ROUNDS), 200);
    assert!(eventually(|| after.registers.read(RATE_RUN) == 0));
    after.registers.write(SELECT, 2);
    assert_eq!((after.model.counts(1).raised, after.registers.read(RAISED)), (200, 200));
    before.model.set_paused(false);
    assert!(eventually(|| before.registers.read(RATE_RUN) == 0), "the one that was saved may go on too");
    assert_eq!(before.model.counts(2).raised, 200);
}

/// 10,000 contents with one byte changed: refused, or taken without harm.
#[test]
fn damaged_contents_are_refused_or_taken() {
    let mut before = DeviceUnderTest::open();
    let _irte = before.start(Store::MSIX, 1);
    before.set_sequences(0x3000);
    before.raise(1);
    for (register, value) in [(RATE_INTERVAL, 1_000_000), (RATE_ROUNDS, 200), (RATE_RUN, 1)] {
        before.registers.write(register, value);
    }
    let good = before.inside();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut refused = 0;
    for _ in 0..10_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut inside = good.clone();
        let at = usize::try_from(state >> 8).unwrap() % inside.len();
        inside[at] = state.to_le_bytes()[0];
        // Threads of their own would be most of the cost of 10,000 devices.
        let result = restore(&before.model, &before.registers, &inside);
        refused += u32::from(result.is_err());
        before.registers.write(RATE_RUN, 0);
        before.raise(1);
    }
    assert!((1000..9000).contains(&refused), "{refused}");
    let other = DeviceUnderTest::new(MessageStore::Msix, 4, 4);
    let wrong = restore(&other.model, &other.registers, &good).unwrap_err();
    assert_eq!(wrong.to_string(), "it has other interrupts");
}
