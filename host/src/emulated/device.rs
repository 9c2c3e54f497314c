//! The emulated device behind the service's device trait.

use super::core::Core;
use crate::device::{Capabilities, Device, HostInterrupt, NotIsolated};
use crate::vfio::TableWindow;
use pvir_abi::{DeviceFlags, Pair, Store, Stores};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// An emulated device, programmed by the guest.
pub struct EmulatedDevice {
    core: Arc<Core>,
    window: Box<dyn TableWindow>,
    /// The started entries, each with what had been sent before.
    started: BTreeMap<u32, u64>,
}

impl EmulatedDevice {
    /// Over `core`; the guest gets its table through `window`.
    #[must_use]
    pub fn new(core: Arc<Core>, window: Box<dyn TableWindow>) -> Self {
        Self { core, window, started: BTreeMap::new() }
    }

    fn only_msix(store: Store) -> io::Result<()> {
        if store == Store::MSIX { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }
}

impl Device for EmulatedDevice {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stores: Stores::MSIX,
            flags: DeviceFlags::all(),
            msix_entries: self.core.table().vectors(),
            ..Capabilities::default()
        }
    }

    fn name(&self) -> String {
        "emulated".into()
    }

    /// The VMM itself is the remapping unit, and every message passes it.
    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        self.core.table().mask_all()?;
        self.window.open()?;
        self.core.set_open(true);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.core.set_open(false);
        self.window.close()
    }

    fn trap(&mut self, store: Store) -> io::Result<()> {
        Self::only_msix(store)?;
        self.core.set_trapped(true)
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        Self::only_msix(store)?;
        self.core.set_trapped(false)
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        store == Store::MSIX && self.core.is_pending(index)
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        Self::only_msix(store)?;
        self.core.start(first, eventfds)?;
        let entries = (first..).zip(eventfds).map(|(index, _)| (index, self.core.counts(index).sent));
        self.started.extend(entries);
        Ok(())
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        Self::only_msix(store)?;
        self.started.retain(|index, _| !(first..first.saturating_add(count)).contains(index));
        self.core.stop(first, count)
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        Self::only_msix(store)?;
        self.core.unit().pair(index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        Self::only_msix(store)?;
        self.core.table().mask(index).map(|()| true)
    }

    /// The messages that the unit let through.
    fn host_interrupts(&self) -> Vec<HostInterrupt> {
        let line = |(&index, &before): (&u32, &u64)| HostInterrupt {
            store: Store::MSIX,
            index,
            irq: None,
            count: self.core.counts(index).sent - before,
        };
        self.started.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::registers::{BLOCKED, HELD, RAISE, Registers, SELECT, SENT, TIMES};
    use crate::vfio::RegionMap;
    use std::time::{Duration, Instant};

    struct NoWindow;

    impl TableWindow for NoWindow {
        fn open(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn close(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        device: EmulatedDevice,
        registers: Registers,
        memory: Arc<RegionMap>,
        eventfd: EventFd,
    }

    /// A device with entry 1 started, its pair in the table, still masked.
    fn bench() -> (Bench, Pair) {
        let core = Core::new(0..3).unwrap();
        let mut device = EmulatedDevice::new(Arc::clone(&core), Box::new(NoWindow));
        device.open().unwrap();
        let eventfd = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        device.start(Store::MSIX, 1, &[&eventfd]).unwrap();
        assert!(device.mask(Store::MSIX, 1).unwrap());
        let pair = device.pair(Store::MSIX, 1).unwrap();
        let memory = Arc::clone(core.table().memory());
        let bench = Bench { device, registers: Registers::new(core), memory, eventfd };
        bench.program(1, pair);
        bench.registers.write(SELECT, 1);
        (bench, pair)
    }

    impl Bench {
        fn program(&self, entry: u64, pair: Pair) {
            self.memory.write(entry * 16, (pair.address & 0xffff_ffff) as u32).unwrap();
            self.memory.write(entry * 16 + 4, (pair.address >> 32) as u32).unwrap();
            self.memory.write(entry * 16 + 8, pair.data).unwrap();
        }

        fn unmask(&self, entry: u64) {
            self.memory.write(entry * 16 + 12, 0).unwrap();
        }

        fn counts(&self) -> (u32, u32, u32) {
            (self.registers.read(SENT), self.registers.read(BLOCKED), self.registers.read(HELD))
        }
    }

    #[test]
    fn an_unmasked_vector_reaches_its_eventfd_each_time() {
        let (bench, _) = bench();
        bench.unmask(1);
        bench.registers.write(TIMES, 5);
        bench.registers.write(RAISE, 1);
        assert_eq!(bench.eventfd.read().unwrap(), 5);
        assert_eq!(bench.counts(), (5, 0, 0));
    }

    #[test]
    fn interrupts_are_counted_from_the_start_of_their_entry() {
        let (mut bench, _) = bench();
        bench.unmask(1);
        bench.registers.write(TIMES, 5);
        bench.registers.write(RAISE, 1);
        let line = |count| HostInterrupt { store: Store::MSIX, index: 1, irq: None, count };
        assert_eq!(bench.device.host_interrupts(), [line(5)]);
        bench.device.stop(Store::MSIX, 1, 1).unwrap();
        assert_eq!(bench.device.host_interrupts(), []);
        bench.device.start(Store::MSIX, 1, &[&bench.eventfd]).unwrap();
        assert_eq!(bench.device.host_interrupts(), [line(0)]);
    }

    #[test]
    fn what_is_raised_while_masked_is_sent_once_on_unmask() {
        let (bench, _) = bench();
        bench.registers.write(RAISE, 1);
        bench.registers.write(RAISE, 1);
        assert!(bench.eventfd.read().is_err(), "nothing while masked");
        assert_eq!(bench.memory.read(0x1000).unwrap(), 2, "pending bit 1");
        bench.unmask(1);
        let patience = Instant::now() + Duration::from_secs(10);
        while bench.counts().0 == 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(bench.eventfd.read().unwrap(), 1);
        assert_eq!(bench.memory.read(0x1000).unwrap(), 0);
        assert_eq!(bench.counts(), (1, 0, 2));
    }

    #[test]
    fn a_pair_works_from_any_entry_of_the_device_and_no_other_does() {
        let (bench, pair) = bench();
        bench.program(2, pair);
        bench.unmask(2);
        bench.registers.write(RAISE, 2);
        assert_eq!(bench.eventfd.read().unwrap(), 1);
        bench.program(2, Pair { address: 0xfee0_0000, data: 0x41 });
        bench.registers.write(RAISE, 2);
        bench.registers.write(SELECT, 2);
        assert_eq!(bench.counts(), (1, 1, 0));
        assert!(bench.eventfd.read().is_err());
    }

    #[test]
    fn after_stop_the_pair_is_dead_and_the_entry_masked() {
        let (mut bench, pair) = bench();
        bench.unmask(1);
        bench.device.stop(Store::MSIX, 1, 1).unwrap();
        assert_eq!(bench.memory.read(28).unwrap() & 1, 1);
        bench.unmask(1);
        bench.registers.write(RAISE, 1);
        assert!(bench.eventfd.read().is_err());
        assert_eq!(bench.counts(), (0, 1, 0));
        bench.device.start(Store::MSIX, 1, &[&bench.eventfd]).unwrap();
        assert_ne!(bench.device.pair(Store::MSIX, 1).unwrap(), pair);
    }

    #[test]
    fn a_device_that_is_not_open_sends_nothing() {
        let (mut bench, _) = bench();
        bench.unmask(1);
        bench.device.close().unwrap();
        bench.registers.write(RAISE, 1);
        assert!(bench.eventfd.read().is_err());
        assert_eq!(bench.counts(), (0, 1, 0));
    }

    #[test]
    fn vectors_that_do_not_exist_are_ignored_or_refused() {
        let (mut bench, _) = bench();
        bench.registers.write(RAISE, 3);
        bench.registers.write(RAISE, u32::MAX);
        let eventfd = EventFd::new(0).unwrap();
        let error = bench.device.start(Store::MSIX, 2, &[&eventfd, &eventfd]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(bench.device.pair(Store::MSIX, 2).is_err(), "none of the two was started");
    }
}
