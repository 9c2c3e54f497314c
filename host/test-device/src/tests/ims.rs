//! Messages in the guest's RAM.

use super::super::registers::{IMS_DOORBELL, IMS_ENTRIES};
use super::*;

const IMS: Store = Store::IMS;
const ARRAY: u64 = 0x2000;

impl Guest {
    fn put(&self, entry: u64, pair: Pair, masked: bool) {
        let [low, high] = halves(pair.address);
        let words = [low, high, pair.data, u32::from(masked)].map(u32::to_le_bytes);
        self.write_ram(ARRAY + entry * 16, words.as_flattened());
    }
}

/// Entry 2 (interrupt 5) started.
fn tested() -> (DeviceUnderTest, Pair, EventFd) {
    let mut tested = DeviceUnderTest::open();
    tested.set_ims_base(ARRAY);
    let (pair, eventfd) = tested.start(IMS, 2);
    (tested, pair, eventfd)
}

#[test]
fn the_message_is_read_when_it_is_sent() {
    let (tested, pair, eventfd) = tested();
    assert_eq!(tested.registers.read(IMS_ENTRIES), 4);
    tested.raise(5);
    assert_eq!(tested.counts(5), (0, 1, 0), "zeros are no message");
    tested.put(2, pair, false);
    tested.raise(5);
    assert_eq!((eventfd.read().unwrap(), tested.counts(5)), (1, (1, 1, 0)));
    // The index says nothing of the place.
    tested.put(0, pair, false);
    tested.raise(3);
    assert_eq!((eventfd.read().unwrap(), tested.counts(3)), (1, (1, 0, 0)));
    assert!(!tested.model.state().is_trapped(IMS));
}

#[test]
fn what_is_held_is_sent_with_the_doorbell() {
    let (tested, pair, eventfd) = tested();
    tested.put(2, pair, true);
    tested.raise(5);
    tested.raise(5);
    tested.registers.write(IMS_DOORBELL, 2);
    assert_eq!(tested.counts(5), (0, 0, 2), "still masked");
    tested.put(2, pair, false);
    assert!(eventfd.read().is_err(), "a device cannot see RAM being written");
    tested.registers.write(IMS_DOORBELL, 2);
    tested.registers.write(IMS_DOORBELL, 2);
    assert_eq!((eventfd.read().unwrap(), tested.counts(5)), (1, (1, 0, 2)));
    tested.registers.write(IMS_DOORBELL, u32::MAX);
}

#[test]
fn what_is_held_goes_with_the_next_message() {
    let (tested, pair, eventfd) = tested();
    tested.put(2, pair, true);
    tested.raise(5);
    tested.put(2, pair, false);
    tested.raise(5);
    tested.registers.write(IMS_DOORBELL, 2);
    assert_eq!((eventfd.read().unwrap(), tested.counts(5)), (1, (1, 0, 1)));
}

#[test]
fn arrays_that_are_not_ram_send_nothing() {
    let (tested, pair, eventfd) = tested();
    tested.put(2, pair, false);
    let bad = [0, ARRAY + 8, RAM as u64 - 32, RAM as u64, 0xfee0_0000, u64::MAX - 15, 1 << 63];
    let faults = u32::try_from(bad.len()).unwrap();
    for base in bad {
        tested.set_ims_base(base);
        tested.raise(5);
    }
    assert!(eventfd.read().is_err());
    assert_eq!(tested.counts(5), (0, faults, 0));
    tested.set_ims_base(ARRAY);
    tested.model.set_bus_master(false);
    tested.raise(5);
    assert_eq!(tested.counts(5), (0, faults + 1, 0));
}

#[test]
fn what_is_held_does_not_survive_the_array_or_the_irte() {
    let (mut tested, pair, eventfd) = tested();
    tested.put(2, pair, true);
    tested.raise(5);
    tested.set_ims_base(0);
    tested.registers.write(IMS_DOORBELL, 2);
    assert_eq!(tested.counts(5), (0, 1, 1));
    tested.set_ims_base(ARRAY);
    tested.raise(5);
    tested.device.stop(IMS, 2, 1).unwrap();
    tested.put(2, pair, false);
    tested.registers.write(IMS_DOORBELL, 2);
    assert_eq!(tested.counts(5), (0, 1, 2));
    tested.raise(5);
    assert_eq!(tested.counts(5), (0, 2, 2), "the pair is dead");
    assert!(eventfd.read().is_err());
}

/// Memory that a hostile guest changes all the time: a message is the right one, or it is blocked or held.
#[test]
fn entries_may_change_while_they_are_read() {
    let (tested, pair, eventfd) = tested();
    let guest = &tested.guest;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..5_000_u32 {
                guest.put(2, pair, round % 2 == 0);
                guest.put(2, Pair { address: u64::from(round) << 20 | 0x15, data: u32::MAX }, false);
            }
            guest.put(2, pair, false);
        });
        while !writer.is_finished() {
            tested.raise(5);
        }
    });
    tested.raise(5);
    let counts = tested.model.counts(5);
    assert_eq!(counts.raised, counts.sent + counts.blocked + counts.held);
    assert_eq!(eventfd.read().unwrap(), counts.sent);
}
