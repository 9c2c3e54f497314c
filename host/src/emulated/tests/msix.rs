//! The table and its unit.

use super::super::registers::TIMES;
use super::*;
use crate::device::HostInterrupt;
use pvir_abi::{DeviceFlags, Stores};
use std::sync::atomic::{AtomicBool, Ordering};

const X: Store = Store::MSIX;

/// Entry 1 started, its pair in the table, still masked.
fn bench() -> (Bench, Pair, EventFd) {
    let mut bench = Bench::open();
    let (pair, eventfd) = bench.start(X, 1);
    bench.program(1, pair);
    (bench, pair, eventfd)
}

#[test]
fn the_service_is_told_what_there_is() {
    let capabilities = Bench::open().device.capabilities();
    assert_eq!((capabilities.stores, capabilities.flags), (Stores::MSIX | Stores::IMS, DeviceFlags::all()));
    assert_eq!((capabilities.msix_entries, capabilities.msi_messages, capabilities.ims_entries), (3, 0, 4));
    let plain = Bench::new(MessageStore::Msix, 2048, 0).device.capabilities();
    assert_eq!((plain.stores, plain.msix_entries, plain.ims_entries), (Stores::MSIX, 2048, 0));
}

#[test]
fn an_unmasked_vector_reaches_its_eventfd_each_time() {
    let (bench, _, eventfd) = bench();
    bench.set_mask(1, false);
    bench.registers.write(TIMES, 5);
    bench.raise(1);
    assert_eq!(eventfd.read().unwrap(), 5);
    assert_eq!(bench.counts(1), (5, 0, 0));
}

#[test]
fn interrupts_are_counted_from_the_start_of_their_entry() {
    let (mut bench, _, eventfd) = bench();
    bench.set_mask(1, false);
    bench.registers.write(TIMES, 5);
    bench.raise(1);
    let line = |count| HostInterrupt { store: X, index: 1, irq: None, count: Some(count), total: 5 };
    assert_eq!(bench.counted(), [line(5)]);
    bench.device.stop(X, 1, 1).unwrap();
    assert_eq!(bench.counted(), []);
    bench.device.start(X, 1, &[&eventfd]).unwrap();
    assert_eq!(bench.counted(), [line(0)]);
}

#[test]
fn what_is_raised_while_masked_is_sent_once_on_unmask() {
    let (bench, _, eventfd) = bench();
    bench.raise(1);
    bench.raise(1);
    assert!(eventfd.read().is_err(), "nothing while masked");
    assert_eq!(bench.table().read(0x1000).unwrap(), 2, "pending bit 1");
    bench.set_mask(1, false);
    assert!(eventually(|| bench.counts(1).0 == 1));
    assert_eq!(eventfd.read().unwrap(), 1);
    assert_eq!(bench.table().read(0x1000).unwrap(), 0);
    assert_eq!(bench.counts(1), (1, 0, 2));
}

#[test]
fn a_pair_works_from_any_entry_of_the_device_and_no_other_does() {
    let (bench, pair, eventfd) = bench();
    bench.program(2, pair);
    bench.set_mask(2, false);
    bench.raise(2);
    assert_eq!(eventfd.read().unwrap(), 1);
    bench.program(2, Pair { address: 0xfee0_0000, data: 0x41 });
    bench.raise(2);
    assert_eq!(bench.counts(2), (1, 1, 0));
    assert!(eventfd.read().is_err());
}

#[test]
fn after_stop_the_pair_is_dead_and_the_entry_masked() {
    let (mut bench, pair, eventfd) = bench();
    bench.set_mask(1, false);
    bench.device.stop(X, 1, 1).unwrap();
    assert_eq!(bench.table().read(28).unwrap() & 1, 1);
    bench.set_mask(1, false);
    bench.raise(1);
    assert!(eventfd.read().is_err());
    assert_eq!(bench.counts(1), (0, 1, 0));
    bench.device.start(X, 1, &[&eventfd]).unwrap();
    assert_ne!(bench.device.pair(X, 1).unwrap(), pair);
}

#[test]
fn a_device_that_is_not_open_sends_nothing() {
    let (mut bench, _, eventfd) = bench();
    bench.set_mask(1, false);
    bench.device.close().unwrap();
    bench.raise(1);
    assert!(eventfd.read().is_err());
    assert_eq!(bench.counts(1), (0, 1, 0));
}

#[test]
fn a_device_that_is_no_bus_master_sends_nothing() {
    let (bench, _, eventfd) = bench();
    bench.set_mask(1, false);
    bench.core.set_bus_master(false);
    bench.raise(1);
    assert!(eventfd.read().is_err());
    bench.core.set_bus_master(true);
    bench.raise(1);
    assert_eq!((eventfd.read().unwrap(), bench.counts(1)), (1, (1, 1, 0)));
}

#[test]
fn what_does_not_exist_is_ignored_or_refused() {
    let mut bench = Bench::open();
    bench.raise(7);
    bench.raise(u32::MAX);
    let eventfd = eventfd();
    let two = [&eventfd, &eventfd];
    for (store, first, eventfds, kind) in [
        (X, 2, &two[..], io::ErrorKind::InvalidInput),
        (X, u32::MAX, &two[..], io::ErrorKind::InvalidInput),
        (X, 0, &[][..], io::ErrorKind::InvalidInput),
        (Store::IMS, 3, &two[..], io::ErrorKind::InvalidInput),
        (Store::MSI, 0, &two[..], io::ErrorKind::Unsupported),
    ] {
        let error = bench.device.start(store, first, eventfds).unwrap_err();
        assert_eq!(error.kind(), kind, "{store:?} {first}");
    }
    assert!(bench.device.pair(X, 2).is_err(), "none of the two was started");
    assert!(bench.device.stop(X, 2, 2).is_err());
}

/// One thread raises, one masks and unmasks: every interrupt is sent or held, and what was held comes in the end.
#[test]
fn raising_while_the_guest_masks_loses_nothing() {
    let (bench, _, eventfd) = bench();
    let (guest, over) = (&bench.guest, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                guest.set_mask(1, true);
                guest.set_mask(1, false);
            }
        });
        (0..20_000).for_each(|_| bench.raise(1));
        over.store(true, Ordering::Relaxed);
    });
    bench.set_mask(1, false);
    assert!(eventually(|| bench.table().read(0x1000).unwrap() == 0));
    let counts = bench.core.counts(1);
    assert_eq!((counts.raised, counts.blocked), (20_000, 0));
    // A held one that was sent, together with those that it was merged with.
    assert!(counts.sent <= counts.raised && counts.sent + counts.held >= counts.raised, "{counts:?}");
    assert_eq!(eventfd.read().unwrap(), counts.sent);
}

/// After `stop` nothing is signalled, however fast another thread raises.
#[test]
fn raising_while_the_entry_is_stopped_reaches_nobody_afterwards() {
    let (mut bench, _, eventfd) = bench();
    let (core, over) = (Arc::clone(&bench.core), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                core.raise(1);
            }
        });
        for _ in 0..200 {
            bench.device.start(X, 1, &[&eventfd]).unwrap();
            let pair = bench.device.pair(X, 1).unwrap();
            bench.program(1, pair);
            bench.set_mask(1, false);
            bench.device.stop(X, 1, 1).unwrap();
            let _ = eventfd.read();
            std::thread::yield_now();
            assert!(eventfd.read().is_err(), "signalled after stop");
        }
        over.store(true, Ordering::Relaxed);
    });
}
