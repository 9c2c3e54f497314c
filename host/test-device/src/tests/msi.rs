//! The MSI capability.

use super::*;
use pvir_abi::{DeviceFlags, Stores};
use pvir_host::emulation::MsiForm;
use pvir_host::pci::MsiRegisters;

const FORM: MsiForm = MsiForm { wide: true, maskable: true };

/// Four messages, started and enabled.
fn tested() -> (DeviceUnderTest, MsiRegisters, Vec<EventFd>) {
    let mut tested = DeviceUnderTest::new(MessageStore::Msi(FORM), 4, 2);
    tested.device.open().unwrap();
    let eventfds: Vec<EventFd> = (0..4).map(|_| eventfd()).collect();
    tested.device.start(Store::MSI, 0, &eventfds.iter().collect::<Vec<_>>()).unwrap();
    let message = tested.device.pair(Store::MSI, 0).unwrap();
    let registers = MsiRegisters { enabled: true, messages_log2: 2, message, mask: 0 };
    tested.model.set_msi(registers);
    (tested, registers, eventfds)
}

fn signals(eventfds: &[EventFd]) -> Vec<u64> {
    eventfds.iter().map(|eventfd| eventfd.read().unwrap_or(0)).collect()
}

#[test]
fn the_service_is_told_what_there_is() {
    let (mut tested, ..) = tested();
    let capabilities = tested.device.capabilities();
    assert_eq!(capabilities.stores, Stores::MSI | Stores::IMS);
    assert_eq!(capabilities.flags, DeviceFlags::DYNAMIC | DeviceFlags::EMULATED);
    assert_eq!((capabilities.msix_entries, capabilities.msi_messages, capabilities.ims_entries), (0, 4, 2));
    assert!(tested.model.table().is_none());
    assert!(!tested.device.mask(Store::MSI, 0).unwrap());
    assert_eq!(tested.device.pair(Store::MSIX, 0).unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn each_message_reaches_its_own_eventfd() {
    let (tested, _, eventfds) = tested();
    for (number, times) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        (0..times).for_each(|_| tested.raise(number));
    }
    assert_eq!(signals(&eventfds), [1, 2, 3, 4]);
}

#[test]
fn masked_messages_are_sent_once_when_they_are_unmasked() {
    let (tested, registers, eventfds) = tested();
    tested.model.set_msi(MsiRegisters { mask: 0b0110, ..registers });
    (0..4).for_each(|number| tested.raise(number));
    tested.raise(2);
    assert_eq!((signals(&eventfds), tested.model.msi_pending()), (vec![1, 0, 0, 1], 0b0110));
    tested.model.set_msi(MsiRegisters { mask: 0b0010, ..registers });
    assert_eq!((signals(&eventfds), tested.model.msi_pending()), (vec![0, 0, 1, 0], 0b0010));
    tested.model.set_msi(registers);
    assert_eq!((signals(&eventfds), tested.model.msi_pending()), (vec![0, 1, 0, 0], 0));
    assert_eq!(tested.counts(2), (1, 0, 2));
}

#[test]
fn with_msi_off_nothing_is_sent() {
    let (tested, registers, eventfds) = tested();
    tested.model.set_msi(MsiRegisters { enabled: false, ..registers });
    tested.raise(0);
    assert_eq!((signals(&eventfds), tested.counts(0)), (vec![0; 4], (0, 1, 0)));
}

#[test]
fn more_messages_than_were_mapped_are_blocked() {
    let (mut tested, registers, _) = tested();
    tested.device.stop(Store::MSI, 0, 4).unwrap();
    tested.raise(0);
    assert_eq!(tested.counts(0), (0, 1, 0), "the pair is dead");
    let two = [eventfd(), eventfd()];
    tested.device.start(Store::MSI, 0, &[&two[0], &two[1]]).unwrap();
    let message = tested.device.pair(Store::MSI, 0).unwrap();
    assert_ne!(message, registers.message);
    tested.model.set_msi(MsiRegisters { message, ..registers });
    (0..4).for_each(|number| tested.raise(number));
    assert_eq!(signals(&two), [1, 1]);
    assert_eq!((tested.counts(2), tested.counts(3)), ((0, 1, 0), (0, 1, 0)));
    // Given fewer messages, the device uses these for all its interrupts.
    tested.model.set_msi(MsiRegisters { message, messages_log2: 1, ..registers });
    (0..4).for_each(|number| tested.raise(number));
    assert_eq!(signals(&two), [2, 2]);
}
