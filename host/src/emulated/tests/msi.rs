//! The MSI capability.

use super::*;
use crate::emulated::{MsiForm, MsiRegisters};
use pvir_abi::{DeviceFlags, Stores};

const FORM: MsiForm = MsiForm { wide: true, maskable: true };

/// Four messages, started and enabled.
fn bench() -> (Bench, MsiRegisters, Vec<EventFd>) {
    let mut bench = Bench::new(MessageStore::Msi(FORM), 4, 2);
    bench.device.open().unwrap();
    let eventfds: Vec<EventFd> = (0..4).map(|_| eventfd()).collect();
    bench.device.start(Store::MSI, 0, &eventfds.iter().collect::<Vec<_>>()).unwrap();
    let message = bench.device.pair(Store::MSI, 0).unwrap();
    let registers = MsiRegisters { enabled: true, messages_log2: 2, message, mask: 0 };
    bench.core.set_msi(registers);
    (bench, registers, eventfds)
}

fn signals(eventfds: &[EventFd]) -> Vec<u64> {
    eventfds.iter().map(|eventfd| eventfd.read().unwrap_or(0)).collect()
}

#[test]
fn the_service_is_told_what_there_is() {
    let (mut bench, ..) = bench();
    let capabilities = bench.device.capabilities();
    assert_eq!(capabilities.stores, Stores::MSI | Stores::IMS);
    assert_eq!(capabilities.flags, DeviceFlags::DYNAMIC | DeviceFlags::EMULATED);
    assert_eq!((capabilities.msix_entries, capabilities.msi_messages, capabilities.ims_entries), (0, 4, 2));
    assert!(bench.core.table().is_none());
    assert!(!bench.device.mask(Store::MSI, 0).unwrap());
    assert_eq!(bench.device.pair(Store::MSIX, 0).unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn each_message_reaches_its_own_eventfd() {
    let (bench, _, eventfds) = bench();
    for (number, times) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        (0..times).for_each(|_| bench.raise(number));
    }
    assert_eq!(signals(&eventfds), [1, 2, 3, 4]);
}

#[test]
fn masked_messages_are_sent_once_when_they_are_unmasked() {
    let (bench, registers, eventfds) = bench();
    bench.core.set_msi(MsiRegisters { mask: 0b0110, ..registers });
    (0..4).for_each(|number| bench.raise(number));
    bench.raise(2);
    assert_eq!((signals(&eventfds), bench.core.msi_pending()), (vec![1, 0, 0, 1], 0b0110));
    bench.core.set_msi(MsiRegisters { mask: 0b0010, ..registers });
    assert_eq!((signals(&eventfds), bench.core.msi_pending()), (vec![0, 0, 1, 0], 0b0010));
    bench.core.set_msi(registers);
    assert_eq!((signals(&eventfds), bench.core.msi_pending()), (vec![0, 1, 0, 0], 0));
    assert_eq!(bench.counts(2), (1, 0, 2));
}

#[test]
fn with_msi_off_nothing_is_sent() {
    let (bench, registers, eventfds) = bench();
    bench.core.set_msi(MsiRegisters { enabled: false, ..registers });
    bench.raise(0);
    assert_eq!((signals(&eventfds), bench.counts(0)), (vec![0; 4], (0, 1, 0)));
}

#[test]
fn more_messages_than_were_mapped_are_blocked() {
    let (mut bench, registers, _) = bench();
    bench.device.stop(Store::MSI, 0, 4).unwrap();
    bench.raise(0);
    assert_eq!(bench.counts(0), (0, 1, 0), "the pair is dead");
    let two = [eventfd(), eventfd()];
    bench.device.start(Store::MSI, 0, &[&two[0], &two[1]]).unwrap();
    let message = bench.device.pair(Store::MSI, 0).unwrap();
    assert_ne!(message, registers.message);
    bench.core.set_msi(MsiRegisters { message, ..registers });
    (0..4).for_each(|number| bench.raise(number));
    assert_eq!(signals(&two), [1, 1]);
    assert_eq!((bench.counts(2), bench.counts(3)), ((0, 1, 0), (0, 1, 0)));
    // Given fewer messages, the device uses these for all its interrupts.
    bench.core.set_msi(MsiRegisters { message, messages_log2: 1, ..registers });
    (0..4).for_each(|number| bench.raise(number));
    assert_eq!(signals(&two), [2, 2]);
}
