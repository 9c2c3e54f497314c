//! The VMM emulates the stores: interrupts come through whatever stands in them.

use super::*;
use crate::emulated::MsiForm;

#[test]
fn the_table_is_not_looked_at() {
    let mut bench = Bench::new(MessageStore::Msix, 2, 0);
    bench.set_sequences(0x1000);
    bench.raise(0);
    bench.device.trap(Store::MSIX).unwrap();
    let eventfd = eventfd();
    bench.device.start(Store::MSIX, 0, &[&eventfd]).unwrap();
    bench.raise(0);
    bench.raise(1);
    assert_eq!((eventfd.read().unwrap(), bench.sequence(0x1000)), (1, 2));
    // The table belongs to the guest: it is neither masked nor changed.
    bench.set_mask(0, false);
    bench.device.stop(Store::MSIX, 0, 1).unwrap();
    bench.raise(0);
    assert!(eventfd.read().is_err());
    assert_eq!(bench.table().read(12).unwrap(), 0);
    bench.device.start(Store::MSIX, 0, &[&eventfd]).unwrap();
    bench.device.untrap(Store::MSIX).unwrap();
    bench.set_mask(0, false);
    bench.raise(0);
    assert!(eventfd.read().is_err());
}

#[test]
fn nor_is_the_capability() {
    let mut bench = Bench::new(MessageStore::Msi(MsiForm::default()), 2, 1);
    bench.device.trap(Store::MSI).unwrap();
    let eventfds = [eventfd(), eventfd()];
    bench.device.start(Store::MSI, 0, &[&eventfds[0], &eventfds[1]]).unwrap();
    bench.raise(1);
    assert!(eventfds[0].read().is_err());
    assert_eq!(eventfds[1].read().unwrap(), 1);
    bench.core.set_bus_master(false);
    bench.raise(1);
    assert!(eventfds[1].read().is_err());
}

#[test]
fn only_a_store_that_is_there_is_trapped() {
    let mut bench = Bench::new(MessageStore::Msix, 2, 2);
    for store in [Store::MSI, Store::IMS] {
        assert_eq!(bench.device.trap(store).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
