//! Sequence numbers in the guest's RAM.

use super::super::registers::DMA_FAULTS;
use super::*;

const AREA: u64 = 0x3000;

#[test]
fn each_raise_is_told_before_its_interrupt() {
    let mut bench = Bench::open();
    bench.set_sequences(AREA);
    let (pair, eventfd) = bench.start(Store::MSIX, 1);
    bench.program(1, pair);
    bench.raise(1);
    assert_eq!(bench.sequence(AREA + 8), 1, "also while it is masked");
    bench.set_mask(1, false);
    for sequence in 2..100 {
        bench.raise(1);
        assert!(eventfd.read().is_ok());
        assert_eq!(bench.sequence(AREA + 8), sequence);
    }
    bench.raise(6);
    assert_eq!((bench.sequence(AREA), bench.sequence(AREA + 48)), (0, 1));
    assert_eq!(bench.registers.read(DMA_FAULTS), 0);
}

/// A guest that has seen the interrupt sees the number, and numbers never go back.
#[test]
fn what_two_threads_raise_never_goes_back() {
    let bench = Bench::open();
    let guest = &bench.guest;
    guest.set_sequences(AREA);
    std::thread::scope(|scope| {
        let raisers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| (0..5_000).for_each(|_| guest.core.raise(0)))).collect();
        let mut last = 0;
        while !raisers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let seen = bench.sequence(AREA);
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
    });
    assert_eq!(bench.sequence(AREA), 10_000);
}

#[test]
fn areas_that_are_not_ram_cost_the_number_and_not_the_interrupt() {
    let mut bench = Bench::open();
    let (pair, eventfd) = bench.start(Store::MSIX, 1);
    bench.program(1, pair);
    bench.set_mask(1, false);
    let bad = [AREA + 4, RAM as u64 - 8, RAM as u64, 0xfee0_0000, u64::MAX - 7, u64::MAX];
    let faults = u32::try_from(bad.len()).unwrap();
    for base in bad {
        bench.set_sequences(base);
        bench.raise(1);
    }
    assert_eq!(eventfd.read().unwrap(), u64::from(faults));
    assert_eq!(bench.registers.read(DMA_FAULTS), faults);
    bench.set_sequences(AREA);
    bench.core.set_bus_master(false);
    bench.raise(1);
    assert_eq!((bench.sequence(AREA + 8), bench.registers.read(DMA_FAULTS)), (0, faults + 1));
    bench.set_sequences(0);
    bench.raise(1);
    assert_eq!(bench.registers.read(DMA_FAULTS), faults + 1);
}
