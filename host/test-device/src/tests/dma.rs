//! Sequence numbers in the guest's RAM.

use super::super::registers::DMA_FAULTS;
use super::*;

const AREA: u64 = 0x3000;

#[test]
fn each_raise_is_told_before_its_interrupt() {
    let mut tested = DeviceUnderTest::open();
    tested.set_sequences(AREA);
    let (pair, eventfd) = tested.start(Store::MSIX, 1);
    tested.program(1, pair);
    tested.raise(1);
    assert_eq!(tested.sequence(AREA + 8), 1, "also while it is masked");
    tested.set_mask(1, false);
    for sequence in 2..100 {
        tested.raise(1);
        assert!(eventfd.read().is_ok());
        assert_eq!(tested.sequence(AREA + 8), sequence);
    }
    tested.raise(6);
    assert_eq!((tested.sequence(AREA), tested.sequence(AREA + 48)), (0, 1));
    assert_eq!(tested.registers.read(DMA_FAULTS), 0);
}

/// A guest that has seen the interrupt sees the number, and numbers never go back.
#[test]
fn what_two_threads_raise_never_goes_back() {
    let tested = DeviceUnderTest::open();
    let guest = &tested.guest;
    guest.set_sequences(AREA);
    std::thread::scope(|scope| {
        let raisers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| (0..5_000).for_each(|_| guest.model.raise(0)))).collect();
        let mut last = 0;
        while !raisers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let seen = tested.sequence(AREA);
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
    });
    assert_eq!(tested.sequence(AREA), 10_000);
}

#[test]
fn areas_that_are_not_ram_cost_the_number_and_not_the_interrupt() {
    let mut tested = DeviceUnderTest::open();
    let (pair, eventfd) = tested.start(Store::MSIX, 1);
    tested.program(1, pair);
    tested.set_mask(1, false);
    let bad = [AREA + 4, RAM as u64 - 8, RAM as u64, 0xfee0_0000, u64::MAX - 7, u64::MAX];
    let faults = u32::try_from(bad.len()).unwrap();
    for base in bad {
        tested.set_sequences(base);
        tested.raise(1);
    }
    assert_eq!(eventfd.read().unwrap(), u64::from(faults));
    assert_eq!(tested.registers.read(DMA_FAULTS), faults);
    tested.set_sequences(AREA);
    tested.model.set_bus_master(false);
    tested.raise(1);
    assert_eq!((tested.sequence(AREA + 8), tested.registers.read(DMA_FAULTS)), (0, faults + 1));
    tested.set_sequences(0);
    tested.raise(1);
    assert_eq!(tested.registers.read(DMA_FAULTS), faults + 1);
}
