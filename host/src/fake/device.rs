//! A fake device.

mod making;

use super::counts::FakeCounts;
use super::platform::{KnownEventfd, StartedEntry};
use super::{BackendCall, CallKind, Entry, FakePlatform, SharedPlatform};
use crate::device::{Capabilities, Device, HostCounts, NotIsolated};
use crate::eventfd::EventFd;
use pvir_abi::{Pair, Refusal, Store};
use std::io;
use std::sync::Arc;

/// A [`Device`] that records each call on its [`FakePlatform`], and each breach of the safe order.
pub struct FakeDevice {
    number: u32,
    platform: SharedPlatform,
    capabilities: Capabilities,
    refusal: Refusal,
    /// Whether its IMS entries are made of its MSI-X entries, the last one for the first.
    backed: bool,
    /// Whether its pairs are never aligned.
    odd_pairs: bool,
}

impl FakeDevice {
    fn entry(&self, store: Store, index: u32) -> Entry {
        Entry { device: self.number, store, index }
    }

    fn backing_of(&self, entry: Entry) -> Entry {
        let (store, index) = self.backing(entry.store, entry.index);
        self.entry(store, index)
    }

    /// How many messages a store has, if the device has it.
    fn messages(&self, store: Store) -> Option<u32> {
        match store {
            Store::MSI => self.capabilities.entries(store).map(|_| self.capabilities.msi_messages),
            _ => self.capabilities.entries(store),
        }
    }

    /// Notes the call and that each of its messages exists, on a device whose table is open.
    fn enter(&self, call: BackendCall, store: Store, first: u32, count: u32) -> io::Result<()> {
        let mut platform = self.platform.lock();
        let end = first.checked_add(count);
        if count == 0 || self.messages(store).is_none_or(|all| end.is_none_or(|end| end > all)) {
            platform.breach(format!("{call:?} is beyond the store"));
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if store == Store::MSI && (first != 0 || !count.is_power_of_two()) {
            platform.breach(format!("{call:?} is not what an MSI capability can have"));
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let trapped = platform.trapped.get(&self.number) == Some(&store);
        let served = match call.kind() {
            CallKind::Start | CallKind::Stop => trapped || platform.open.contains(&self.number),
            _ => platform.open.contains(&self.number),
        };
        if !served {
            platform.breach(format!("{call:?} on a device that is neither open nor trapped for it"));
        }
        platform.note(call)
    }

    fn entries(&self, store: Store, first: u32, count: u32) -> impl Iterator<Item = Entry> + use<> {
        let device = self.number;
        (first..first.saturating_add(count)).map(move |index| Entry { device, store, index })
    }
}

impl Device for FakeDevice {
    fn releases_eventfds(&self) -> bool {
        self.platform.lock().releases_eventfds
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn name(&self) -> String {
        format!("fake {}", self.number)
    }

    fn isolated(&self) -> Result<(), NotIsolated> {
        if self.refusal == Refusal::NONE {
            return Ok(());
        }
        let what = format!("fake device {} is not isolated", self.number);
        Err(NotIsolated { refusal: self.refusal, what, remedy: "take an isolated one".into() })
    }

    fn open(&mut self) -> io::Result<()> {
        let mut platform = self.platform.lock();
        if platform.open.contains(&self.number) {
            platform.breach(format!("device {} is opened twice", self.number));
        }
        if platform.trapped.contains_key(&self.number) {
            platform.breach(format!("device {} is opened while it is trapped", self.number));
        }
        platform.note(BackendCall::Open(self.number))?;
        platform.open.insert(self.number);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let mut platform = self.platform.lock();
        let number = self.number;
        if !platform.open.contains(&number) {
            platform.breach(format!("device {number} is closed and was not open"));
        }
        let FakePlatform { started, unsure, .. } = &*platform;
        let alive = started.keys().any(|entry| entry.device == number && !unsure.contains(entry));
        if alive {
            platform.breach(format!("device {number} is closed with started entries"));
        }
        // Lost or not, the guest has the table no more, and what would not stop ends here.
        platform.open.remove(&number);
        platform.started.retain(|entry, _| entry.device != number);
        platform.unsure.retain(|entry| entry.device != number);
        platform.note(BackendCall::Close(number))
    }

    fn trap(&mut self, store: Store) -> io::Result<()> {
        let mut platform = self.platform.lock();
        if platform.open.contains(&self.number) || platform.trapped.contains_key(&self.number) {
            platform.breach(format!("device {} is trapped while it is open or trapped", self.number));
        }
        if self.capabilities.entries(store).is_none() {
            platform.breach(format!("device {} has no {store:?} to be trapped", self.number));
        }
        platform.note(BackendCall::Trap(self.number, store))?;
        platform.trapped.insert(self.number, store);
        Ok(())
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        let mut platform = self.platform.lock();
        let number = self.number;
        if platform.trapped.get(&number) != Some(&store) {
            platform.breach(format!("{store:?} of device {number} is released and was not trapped"));
        }
        let FakePlatform { started, unsure, .. } = &*platform;
        if started.keys().any(|entry| entry.device == number && !unsure.contains(entry)) {
            platform.breach(format!("device {number} is released with started entries"));
        }
        // Lost or not, as with `close`.
        platform.trapped.remove(&number);
        platform.started.retain(|entry, _| entry.device != number);
        platform.unsure.retain(|entry| entry.device != number);
        platform.latched.retain(|entry| entry.device != number);
        platform.note(BackendCall::Untrap(number, store))
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        self.platform.lock().latched.contains(&self.entry(store, index))
    }

    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        match store {
            Store::IMS if self.backed => (Store::MSIX, self.capabilities.msix_entries - 1 - index),
            _ => (store, index),
        }
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let count = u32::try_from(eventfds.len()).map_err(io::Error::other)?;
        let all = {
            let mut platform = self.platform.lock();
            let mut all: Vec<KnownEventfd> = Vec::with_capacity(eventfds.len());
            for (entry, eventfd) in self.entries(store, first, count).zip(eventfds) {
                let seen = platform.see(eventfd)?;
                platform.check_start(entry, self.backing_of(entry), seen.id);
                if all.iter().any(|before| before.id == seen.id) {
                    platform.breach(format!("{entry:?} is started with the eventfd of its neighbour"));
                }
                all.push(seen);
            }
            all
        };
        self.enter(BackendCall::Start(self.entry(store, first), count), store, first, count)?;
        let mut platform = self.platform.lock();
        platform.take_vectors(count)?;
        for (entry, signals) in self.entries(store, first, count).zip(all) {
            // The data of the first message of an MSI is aligned, those of the others follow it.
            let step = if store == Store::MSI && entry.index == 0 { count } else { 1 };
            platform.generation = (platform.generation + 1).next_multiple_of(step);
            let place = if store == Store::MSI { 0 } else { entry.index };
            let pair = Pair { address: 0xfee0_0010 | u64::from(place) << 5, data: platform.generation };
            let pair = if self.odd_pairs { Pair { data: pair.data | 1, ..pair } } else { pair };
            let backing = self.backing_of(entry);
            // As SET_IRQS does, whatever the mask was before. A trapped one stays so.
            let by_guest = platform.trapped.contains_key(&entry.device);
            let started = StartedEntry { signals, backing, masked: false, by_guest, pair, count: 0 };
            platform.started.insert(entry, started);
            platform.unsure.remove(&entry);
            if platform.latched.remove(&entry) {
                platform.raise(entry);
            }
        }
        Ok(())
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        {
            let mut platform = self.platform.lock();
            for entry in self.entries(store, first, count) {
                if !platform.started.contains_key(&entry) && !platform.unsure.contains(&entry) {
                    platform.breach(format!("{entry:?} is stopped and was not started"));
                }
            }
            let running = |store| {
                let of_store = |entry: &&Entry| (entry.device, entry.store) == (self.number, store);
                platform.started.keys().filter(of_store).count()
            };
            if store == Store::MSI && running(store) != count as usize {
                platform.breach(format!("{count} messages of an MSI are stopped, which is not all of them"));
            }
        }
        let entered = self.enter(BackendCall::Stop(self.entry(store, first), count), store, first, count);
        let mut platform = self.platform.lock();
        for entry in self.entries(store, first, count) {
            if entered.is_ok() {
                platform.started.remove(&entry);
                platform.unsure.remove(&entry);
            } else {
                platform.unsure.insert(entry);
            }
        }
        entered
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        let entry = self.entry(store, index);
        self.enter(BackendCall::Pair(entry), store, index, 1).map_err(|error| {
            match error.raw_os_error() {
                // How a test asks for a pair that was unstable or malformed.
                Some(libc::EBADMSG) => io::Error::new(io::ErrorKind::InvalidData, "the pair was unstable"),
                _ => error,
            }
        })?;
        let mut platform = self.platform.lock();
        let Some(pair) = platform.started.get(&entry).map(|started| started.pair) else {
            platform.breach(format!("the pair of {entry:?} is read before it is started"));
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(pair)
    }

    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        let entry = self.entry(store, index);
        self.enter(BackendCall::Mask(entry), store, index, 1)?;
        let mut platform = self.platform.lock();
        let maskable = store == Store::MSIX;
        if !platform.started.contains_key(&entry) {
            platform.breach(format!("{entry:?} is masked before it is started"));
        }
        // MSI has no mask bits here and its messages start together: none of them is expected to be masked alone.
        let meant = |other: &Entry| match store {
            Store::MSI => (other.device, other.store) == (entry.device, entry.store),
            _ => *other == entry,
        };
        for (_, started) in platform.started.iter_mut().filter(|(other, _)| meant(other)) {
            started.masked = maskable;
            started.by_guest = !maskable;
        }
        Ok(maskable)
    }

    fn suspend(&mut self, store: Store) -> io::Result<Vec<u32>> {
        let mut platform = self.platform.lock();
        platform.note(BackendCall::Suspend(self.number))?;
        if !platform.suspended.insert(self.number) {
            platform.breach(format!("device {} is suspended twice", self.number));
        }
        let of_store = |entry: &&Entry| (entry.device, entry.store) == (self.number, store);
        Ok(platform.latched.iter().filter(of_store).map(|entry| entry.index).collect())
    }

    fn wake(&mut self) -> io::Result<()> {
        let mut platform = self.platform.lock();
        if !platform.suspended.remove(&self.number) {
            return Ok(());
        }
        let FakePlatform { latched, started, .. } = &*platform;
        let of_device = |entry: &&Entry| entry.device == self.number && started.contains_key(entry);
        let sent: Vec<Entry> = latched.iter().filter(of_device).copied().collect();
        for entry in sent {
            platform.latched.remove(&entry);
            platform.raise(entry);
        }
        platform.note(BackendCall::Wake(self.number))
    }

    fn hold_off(&mut self, held: bool) -> io::Result<()> {
        let mut platform = self.platform.lock();
        platform.note(BackendCall::HoldOff(self.number, held))?;
        if held {
            platform.held_off.insert(self.number);
        } else {
            platform.held_off.remove(&self.number);
        }
        Ok(())
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        Some(Arc::new(FakeCounts { number: self.number, platform: self.platform.clone() }))
    }
}
