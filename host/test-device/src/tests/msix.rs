//! The table and its unit.

use super::super::registers::TIMES;
use super::*;
use pvir_abi::{DeviceFlags, Stores};
use pvir_host::device::{HostInterrupt, KernelTotals};
use std::sync::atomic::{AtomicBool, Ordering};

const X: Store = Store::MSIX;

/// Entry 1 started, its pair in the table, still masked.
fn tested() -> (DeviceUnderTest, Pair, EventFd) {
    let mut tested = DeviceUnderTest::open();
    let (pair, eventfd) = tested.start(X, 1);
    tested.program(1, pair);
    (tested, pair, eventfd)
}

#[test]
fn the_service_is_told_what_there_is() {
    let capabilities = DeviceUnderTest::open().device.capabilities();
    // whether the guest has taken the device is for the service to say
    let flags = DeviceFlags::all() - DeviceFlags::ATTACHED;
    assert_eq!((capabilities.stores, capabilities.flags), (Stores::MSIX | Stores::IMS, flags));
    assert_eq!((capabilities.msix_entries, capabilities.msi_messages, capabilities.ims_entries), (3, 0, 4));
    let plain = DeviceUnderTest::new(MessageStore::Msix, 2048, 0).device.capabilities();
    assert_eq!((plain.stores, plain.msix_entries, plain.ims_entries), (Stores::MSIX, 2048, 0));
}

#[test]
fn an_unmasked_vector_reaches_its_eventfd_each_time() {
    let (tested, _, eventfd) = tested();
    tested.set_mask(1, false);
    tested.registers.write(TIMES, 5);
    tested.raise(1);
    assert_eq!(eventfd.read().unwrap(), 5);
    assert_eq!(tested.counts(1), (5, 0, 0));
}

#[test]
fn interrupts_are_counted_from_the_start_of_their_entry() {
    let (mut tested, _, eventfd) = tested();
    tested.set_mask(1, false);
    tested.registers.write(TIMES, 5);
    tested.raise(1);
    let line = |count| HostInterrupt::new(X, 1, 5).with_count(Some(count));
    assert_eq!(tested.counted(), [line(5)]);
    tested.device.stop(X, 1, 1).unwrap();
    assert_eq!(tested.counted(), []);
    tested.device.start(X, 1, &[&eventfd]).unwrap();
    assert_eq!(tested.counted(), [line(0)]);
}

#[test]
fn the_sum_of_all_interrupts_only_grows() {
    let (mut tested, _, eventfd) = tested();
    let counts = tested.device.host_counts().unwrap();
    let sum = || counts.sum(&KernelTotals::new()).unwrap();
    tested.raise(1);
    assert_eq!(sum(), 0, "it is held");
    tested.set_mask(1, false);
    tested.registers.write(TIMES, 5);
    tested.raise(1);
    // What was held is sent too, as soon as somebody sees that it may be.
    assert!(eventually(|| sum() == 6));
    tested.device.stop(X, 1, 1).unwrap();
    tested.raise(1);
    assert_eq!(sum(), 6, "blocked: nothing reaches the host");
    tested.device.start(X, 1, &[&eventfd]).unwrap();
    assert_eq!(sum(), 6);
}

#[test]
fn what_is_raised_while_masked_is_sent_once_on_unmask() {
    let (tested, _, eventfd) = tested();
    tested.raise(1);
    tested.raise(1);
    assert!(eventfd.read().is_err(), "nothing while masked");
    assert_eq!(tested.table().read(0x1000).unwrap(), 2, "pending bit 1");
    tested.set_mask(1, false);
    assert!(eventually(|| tested.counts(1).0 == 1));
    assert_eq!(eventfd.read().unwrap(), 1);
    assert_eq!(tested.table().read(0x1000).unwrap(), 0);
    assert_eq!(tested.counts(1), (1, 0, 2));
}

#[test]
fn a_pair_works_from_any_entry_of_the_device_and_no_other_does() {
    let (tested, pair, eventfd) = tested();
    tested.program(2, pair);
    tested.set_mask(2, false);
    tested.raise(2);
    assert_eq!(eventfd.read().unwrap(), 1);
    tested.program(2, Pair { address: 0xfee0_0000, data: 0x41 });
    tested.raise(2);
    assert_eq!(tested.counts(2), (1, 1, 0));
    assert!(eventfd.read().is_err());
}

#[test]
fn after_stop_the_pair_is_dead_and_the_entry_masked() {
    let (mut tested, pair, eventfd) = tested();
    tested.set_mask(1, false);
    tested.device.stop(X, 1, 1).unwrap();
    assert_eq!(tested.table().read(28).unwrap() & 1, 1);
    tested.set_mask(1, false);
    tested.raise(1);
    assert!(eventfd.read().is_err());
    assert_eq!(tested.counts(1), (0, 1, 0));
    tested.device.start(X, 1, &[&eventfd]).unwrap();
    assert_ne!(tested.device.pair(X, 1).unwrap(), pair);
}

#[test]
fn a_device_that_is_not_open_sends_nothing() {
    let (mut tested, _, eventfd) = tested();
    tested.set_mask(1, false);
    tested.device.close().unwrap();
    tested.raise(1);
    assert!(eventfd.read().is_err());
    assert_eq!(tested.counts(1), (0, 1, 0));
}

#[test]
fn a_device_that_is_no_bus_master_sends_nothing() {
    let (tested, _, eventfd) = tested();
    tested.set_mask(1, false);
    tested.model.set_bus_master(false);
    tested.raise(1);
    assert!(eventfd.read().is_err());
    tested.model.set_bus_master(true);
    tested.raise(1);
    assert_eq!((eventfd.read().unwrap(), tested.counts(1)), (1, (1, 1, 0)));
}

#[test]
fn what_does_not_exist_is_ignored_or_refused() {
    let mut tested = DeviceUnderTest::open();
    tested.raise(7);
    tested.raise(u32::MAX);
    let eventfd = eventfd();
    let two = [&eventfd, &eventfd];
    for (store, first, eventfds, kind) in [
        (X, 2, &two[..], io::ErrorKind::InvalidInput),
        (X, u32::MAX, &two[..], io::ErrorKind::InvalidInput),
        (X, 0, &[][..], io::ErrorKind::InvalidInput),
        (Store::IMS, 3, &two[..], io::ErrorKind::InvalidInput),
        (Store::MSI, 0, &two[..], io::ErrorKind::Unsupported),
    ] {
        let error = tested.device.start(store, first, eventfds).unwrap_err();
        assert_eq!(error.kind(), kind, "{store:?} {first}");
    }
    assert!(tested.device.pair(X, 2).is_err(), "none of the two was started");
    assert!(tested.device.stop(X, 2, 2).is_err());
}

/// One thread raises, one masks and unmasks: every interrupt is sent or held, and what was held comes in the end.
#[test]
fn raising_while_the_guest_masks_loses_nothing() {
    let (tested, _, eventfd) = tested();
    let (guest, over) = (&tested.guest, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                guest.set_mask(1, true);
                guest.set_mask(1, false);
            }
        });
        (0..20_000).for_each(|_| tested.raise(1));
        over.store(true, Ordering::Relaxed);
    });
    tested.set_mask(1, false);
    assert!(eventually(|| tested.table().read(0x1000).unwrap() == 0));
    let counts = tested.model.counts(1);
    assert_eq!((counts.raised, counts.blocked), (20_000, 0));
    // A held one that was sent, together with those that it was merged with.
    assert!(counts.sent <= counts.raised && counts.sent + counts.held >= counts.raised, "{counts:?}");
    assert_eq!(eventfd.read().unwrap(), counts.sent);
}

/// After `stop` nothing is signalled, however fast another thread raises.
#[test]
fn raising_while_the_entry_is_stopped_reaches_nobody_afterwards() {
    let (mut tested, _, eventfd) = tested();
    let (model, over) = (Arc::clone(&tested.model), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                model.raise(1);
            }
        });
        for _ in 0..200 {
            tested.device.start(X, 1, &[&eventfd]).unwrap();
            let pair = tested.device.pair(X, 1).unwrap();
            tested.program(1, pair);
            tested.set_mask(1, false);
            tested.device.stop(X, 1, 1).unwrap();
            let _ = eventfd.read();
            std::thread::yield_now();
            assert!(eventfd.read().is_err(), "signalled after stop");
        }
        over.store(true, Ordering::Relaxed);
    });
}
