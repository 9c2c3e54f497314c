//! A device of the host whose MSI-X table is the one that the guest programs.

use pvir_guest::Mask;
use pvir_guest::abi::{Pair, Store};
use pvir_guest::fake::FakeMachine;
use pvir_host::device::{Capabilities, Device, HostCounts, NotIsolated};
use pvir_host::eventfd::EventFd;
use pvir_host::fake::{Entry, FakeDevice, SharedPlatform};
use std::io;
use std::sync::Arc;

/// A fake device, and the function's table: what the kernel does to it in SET_IRQS, and the VMM in MAP.
pub(crate) struct SharedTableDevice {
    fake: FakeDevice,
    number: u32,
    platform: SharedPlatform,
    machine: Arc<FakeMachine>,
}

impl SharedTableDevice {
    pub(crate) fn new(
        fake: FakeDevice,
        number: u32,
        platform: SharedPlatform,
        machine: Arc<FakeMachine>,
    ) -> Self {
        Self { fake, number, platform, machine }
    }

    /// The table entry behind an entry of any store, if there is one.
    fn slot(&self, store: Store, index: u32) -> Option<usize> {
        let (store, index) = self.fake.backing(store, index);
        (store == Store::MSIX).then_some(index as usize)
    }

    fn is_open(&self) -> bool {
        self.platform.lock().footprint().open.contains(&self.number)
    }
}

impl Device for SharedTableDevice {
    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }

    fn name(&self) -> String {
        self.fake.name()
    }

    fn isolated(&self) -> Result<(), NotIsolated> {
        self.fake.isolated()
    }

    fn open(&mut self) -> io::Result<()> {
        self.fake.open()?;
        for slot in 0..self.fake.capabilities().msix_entries as usize {
            self.machine.write_entry(slot, self.machine.pair(slot), Mask::Set);
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.fake.close()
    }

    fn trap(&mut self, store: Store) -> io::Result<()> {
        self.fake.trap(store)
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        self.fake.untrap(store)
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        self.fake.pending(store, index)
    }

    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        self.fake.backing(store, index)
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        self.fake.start(store, first, eventfds)?;
        if self.is_open() {
            let started = self.platform.lock().footprint().started;
            for (index, _) in (first..).zip(eventfds) {
                let entry = Entry { device: self.number, store, index };
                if let (Some(slot), Some((_, pair))) = (self.slot(store, index), started.get(&entry)) {
                    // The kernel writes the message and leaves the entry unmasked.
                    self.machine.write_entry(slot, *pair, Mask::Clear);
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        self.fake.stop(store, first, count)?;
        if self.is_open() {
            let slots = (first..first + count).filter_map(|index| self.slot(store, index));
            slots.for_each(|slot| self.machine.write_entry(slot, Pair::default(), Mask::Set));
        }
        Ok(())
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        let pair = self.fake.pair(store, index)?;
        // Read from the table, as from a mapped one.
        Ok(self.slot(store, index).map_or(pair, |slot| self.machine.pair(slot)))
    }

    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        let own = self.fake.mask(store, index)?;
        if let Some(slot) = self.slot(store, index) {
            self.machine.write_entry(slot, self.machine.pair(slot), Mask::Set);
        }
        Ok(own)
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        self.fake.host_counts()
    }
}
