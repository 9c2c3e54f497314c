//! The VMM emulates the stores: interrupts come through whatever stands in them.

use super::*;
use pvir_host::emulation::MsiForm;
use pvir_host::pci::MsiRegisters;

#[test]
fn the_table_is_not_looked_at() {
    let mut tested = DeviceUnderTest::new(MessageStore::Msix, 2, 0);
    tested.set_sequences(0x1000);
    tested.raise(0);
    tested.device.trap(Store::MSIX).unwrap();
    let eventfd = eventfd();
    tested.device.start(Store::MSIX, 0, &[&eventfd]).unwrap();
    tested.raise(0);
    tested.raise(1);
    assert_eq!((eventfd.read().unwrap(), tested.sequence(0x1000)), (1, 2));
    // The table belongs to the guest: it is neither masked nor changed.
    tested.set_mask(0, false);
    tested.device.stop(Store::MSIX, 0, 1).unwrap();
    tested.raise(0);
    assert!(eventfd.read().is_err());
    assert_eq!(tested.table().read(12).unwrap(), 0);
    // What is not started is held until it is.
    assert!(tested.device.pending(Store::MSIX, 0) && tested.device.pending(Store::MSIX, 1));
    tested.device.start(Store::MSIX, 0, &[&eventfd]).unwrap();
    assert_eq!(eventfd.read().unwrap(), 1);
    assert!(!tested.device.pending(Store::MSIX, 0));
    tested.device.untrap(Store::MSIX).unwrap();
    assert!(!tested.device.pending(Store::MSIX, 1), "forgotten");
    tested.set_mask(0, false);
    tested.raise(0);
    assert!(eventfd.read().is_err());
}

#[test]
fn nor_is_the_capability() {
    let mut tested = DeviceUnderTest::new(MessageStore::Msi(MsiForm::default()), 2, 1);
    tested.device.trap(Store::MSI).unwrap();
    tested.model.set_msi(MsiRegisters { enabled: true, messages_log2: 1, ..Default::default() });
    let eventfds = [eventfd(), eventfd()];
    tested.device.start(Store::MSI, 0, &[&eventfds[0], &eventfds[1]]).unwrap();
    tested.raise(1);
    assert!(eventfds[0].read().is_err());
    assert_eq!(eventfds[1].read().unwrap(), 1);
    tested.model.set_bus_master(false);
    tested.raise(1);
    assert!(eventfds[1].read().is_err());
}

#[test]
fn with_fewer_messages_than_interrupts_they_are_used_again() {
    for messages_log2 in 0..3 {
        let mut tested = DeviceUnderTest::new(MessageStore::Msi(MsiForm::default()), 4, 0);
        tested.device.trap(Store::MSI).unwrap();
        // Held before the guest has said how many there are.
        tested.raise(3);
        tested.model.set_msi(MsiRegisters { enabled: true, messages_log2, ..Default::default() });
        let messages = 1_usize << messages_log2;
        let eventfds: Vec<EventFd> = (0..messages).map(|_| eventfd()).collect();
        tested.device.start(Store::MSI, 0, &eventfds.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(eventfds[0].read().unwrap(), 1, "the only message that there was");
        (0..4).for_each(|number| tested.raise(number));
        for eventfd in &eventfds {
            assert_eq!(eventfd.read().unwrap(), 4 / messages as u64, "of {messages} messages");
        }
        // Stopped, they are held by the same rule.
        tested.device.stop(Store::MSI, 0, 1 << messages_log2).unwrap();
        (0..4).for_each(|number| tested.raise(number));
        assert_eq!(tested.model.msi_pending(), (1 << messages) - 1);
    }
}

#[test]
fn only_a_store_that_is_there_is_trapped() {
    let mut tested = DeviceUnderTest::new(MessageStore::Msix, 2, 2);
    for store in [Store::MSI, Store::IMS] {
        assert_eq!(tested.device.trap(store).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
