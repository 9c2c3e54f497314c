//! The state that the fake KVM and the fake devices share.

use super::faults::Faults;
use super::{BackendCall, CallKind, Entry, identity};
use crate::eventfd::EventFd;
use crate::message::Message;
use pvir_abi::{Operation, Pair, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A [`FakePlatform`], shared by a [`FakeKvm`](super::FakeKvm), its [`FakeDevice`](super::FakeDevice)s and the test.
#[derive(Clone, Default)]
pub struct SharedPlatform(Arc<Mutex<FakePlatform>>);

impl SharedPlatform {
    /// An empty platform whose GSIs below `first_gsi` belong to an I/O APIC.
    #[must_use]
    pub fn new(first_gsi: u32) -> Self {
        let platform = FakePlatform { first_gsi, ..FakePlatform::default() };
        Self(Arc::new(Mutex::new(platform)))
    }

    /// Locks the platform. The lock must not be held while the service is called.
    pub fn lock(&self) -> MutexGuard<'_, FakePlatform> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An interrupt that has reached a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// APIC id of the vCPU.
    pub destination: u32,
    /// Interrupt vector.
    pub vector: u8,
}

/// What the service holds on the platform at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Footprint {
    /// Destination and vector of each GSI that has a route.
    pub routes: BTreeMap<u32, (u32, u8)>,
    /// GSIs with an irqfd, without those that are armed ahead or retired.
    pub irqfds: BTreeSet<u32>,
    /// Mask bit and pair of each started entry.
    pub started: BTreeMap<Entry, (bool, Pair)>,
    /// Numbers of the devices whose table the guest has.
    pub open: BTreeSet<u32>,
    /// The store of each device that is prepared for being emulated.
    pub trapped: BTreeMap<u32, Store>,
}

/// An eventfd of the service, held by a descriptor of the platform's, so that no later eventfd gets its id.
#[derive(Clone)]
pub(super) struct KnownEventfd {
    pub(super) id: u64,
    pub(super) eventfd: Arc<EventFd>,
}

impl KnownEventfd {
    /// Whether something is counted in it, which is left there.
    pub(super) fn holds_interrupt(&self) -> bool {
        let Ok(count) = self.eventfd.read() else { return false };
        // As much as was there fits again.
        let _ = self.eventfd.write(count);
        true
    }
}

/// A started entry.
pub(super) struct StartedEntry {
    pub(super) signals: KnownEventfd,
    /// The entry whose interrupt it is.
    pub(super) backing: Entry,
    pub(super) masked: bool,
    /// Whether the guest, and not the host, has left it unmasked.
    pub(super) by_guest: bool,
    pub(super) pair: Pair,
    /// Number of calls of a kind since the last [`FakePlatform::expect`].
    pub(super) count: u64,
}

/// The state of a fake KVM and its fake devices, the calls that the service has made, and the breaches of the order.
#[derive(Default)]
pub struct FakePlatform {
    pub(super) first_gsi: u32,
    pub(super) expected: Option<Operation>,
    pub(super) routes: BTreeMap<u32, Message>,
    pub(super) irqfds: BTreeMap<u32, KnownEventfd>,
    /// GSIs with an irqfd that was armed ahead, and no route so far.
    pub(super) armed: BTreeSet<u32>,
    /// GSIs with an irqfd that lost its route when nothing signalled it any more.
    pub(super) idle: BTreeSet<u32>,
    /// GSIs with an irqfd of which KVM may have an injection in its work queue.
    pub(super) queued: BTreeSet<u32>,
    /// The entry that signalled an eventfd, by its id, since it was last detached: KVM may have an injection queued.
    pub(super) used_by: BTreeMap<u64, Entry>,
    pub(super) started: BTreeMap<Entry, StartedEntry>,
    /// Entries whose latest stop failed, by our doing: they may be in either state.
    pub(super) unsure: BTreeSet<Entry>,
    pub(super) open: BTreeSet<u32>,
    /// Devices that are prepared for being emulated.
    pub(super) trapped: BTreeMap<u32, Store>,
    /// Devices that are suspended for a snapshot.
    pub(super) suspended: BTreeSet<u32>,
    /// Devices that send nothing, whatever they are had to do.
    pub(super) held_off: BTreeSet<u32>,
    /// Entries that have an interrupt pending in their device: of trapped devices those that are not started, of suspended
    /// ones any.
    pub(super) latched: BTreeSet<Entry>,
    pub(super) generation: u32,
    /// Interrupts that each device has raised.
    pub(super) sums: BTreeMap<u32, u64>,
    /// Devices whose interrupts the host does not count.
    pub(super) uncounted: BTreeSet<u32>,
    /// Interrupt vectors of the host: no limit if `None`.
    vectors: Option<usize>,
    seen: BTreeMap<u64, KnownEventfd>,
    calls: Vec<BackendCall>,
    budget: BTreeMap<CallKind, u32>,
    violations: Vec<String>,
    pub(super) deliveries: Vec<Delivery>,
    /// Whether the devices keep no file of an eventfd when they have stopped.
    pub releases_eventfds: bool,
    /// The failures to inject.
    pub faults: Faults,
    /// Called whenever the host's counts are read, for tests of the moment at which that happens.
    pub when_counted: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Called whenever a message is injected without a GSI, for tests of what the guest finds at that moment.
    pub when_signalled: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl FakePlatform {
    /// Announces the operation that the guest requests next, and forgets recorded calls and budgets. With `None`,
    /// calls of any operation are in order.
    pub fn expect(&mut self, operation: Option<Operation>) {
        self.expected = operation;
        self.calls.clear();
        self.budget.clear();
    }

    /// Allows at most `max` calls of a kind until the next [`FakePlatform::expect`]; one more is a breach.
    pub fn allow(&mut self, kind: CallKind, max: u32) {
        self.budget.insert(kind, max);
    }

    /// Limits the host's interrupt vectors for the started entries of all devices to `max`.
    pub fn limit_vectors(&mut self, max: usize) {
        self.vectors = Some(max);
    }

    /// Fails with `ENOSPC` if the host has fewer than `count` vectors left.
    pub(super) fn take_vectors(&mut self, count: u32) -> io::Result<()> {
        match self.vectors {
            Some(max) if self.started.len() + count as usize > max => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }

    /// The calls since the last [`FakePlatform::expect`].
    #[must_use]
    pub fn calls(&self) -> &[BackendCall] {
        &self.calls
    }

    /// How many calls of a kind there were since [`FakePlatform::expect`].
    #[must_use]
    pub fn count(&self, kind: CallKind) -> usize {
        self.calls.iter().filter(|call| call.kind() == kind).count()
    }

    /// The breaches of the order so far, oldest first.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The interrupts that were delivered since the last call of this function.
    pub fn take_deliveries(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    /// What the service holds now.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint {
            routes: self.routes.iter().map(|(gsi, r)| (*gsi, (r.destination(), r.vector()))).collect(),
            irqfds: self.irqfds.keys().filter(|gsi| !self.is_without_route(**gsi)).copied().collect(),
            started: self.started.iter().map(|(entry, s)| (*entry, (s.masked, s.pair))).collect(),
            open: self.open.clone(),
            trapped: self.trapped.clone(),
        }
    }

    /// Number of GSIs with an irqfd that was armed ahead and has no route yet.
    #[must_use]
    pub fn armed_ahead(&self) -> usize {
        self.armed.len()
    }

    /// Number of GSIs with an irqfd that an entry has left and that is not detached yet.
    #[must_use]
    pub fn retired(&self) -> usize {
        self.idle.len()
    }

    /// Whether a GSI has an irqfd without a route, by what is allowed: nothing signals it.
    fn is_without_route(&self, gsi: u32) -> bool {
        self.armed.contains(&gsi) || self.idle.contains(&gsi)
    }

    /// Number of descriptors of this process for eventfds that the service has made, without the platform's own.
    /// Eventfds that the service does not hold any more are forgotten.
    pub fn open_eventfds(&mut self) -> usize {
        let ids: Vec<u64> = self.seen.keys().copied().collect();
        let open = identity::open_descriptors(&ids).saturating_sub(ids.len());
        if open == 0 && self.irqfds.is_empty() && self.started.is_empty() {
            self.seen.clear();
            self.used_by.clear();
        }
        open
    }

    /// Sets or clears the mask bit of an entry, as the guest does without an exit.
    pub fn guest_masks(&mut self, entry: Entry, masked: bool) {
        if let Some(started) = self.started.get_mut(&entry) {
            started.masked = masked;
            started.by_guest = true;
        }
    }

    /// Resets the device of this number as the host's kernel does: nothing is pending in it, and its started entries come
    /// back unmasked. With `new_pairs` they have other pairs than before, as no kernel is known to do.
    pub fn reset_device(&mut self, device: u32, new_pairs: bool) {
        self.latched.retain(|entry| entry.device != device);
        let store_masks = |entry: &Entry| entry.store != Store::MSI;
        for (entry, started) in self.started.iter_mut().filter(|(entry, _)| entry.device == device) {
            // Those of MSI have no mask bits here.
            started.masked = false;
            started.by_guest = !store_masks(entry);
            if new_pairs {
                started.pair.address ^= 1 << 12;
            }
        }
    }

    /// Has the device itself hold an interrupt of an entry, as one does whose entry is masked.
    pub fn latch(&mut self, entry: Entry) {
        self.latched.insert(entry);
    }

    /// Raises an entry's interrupt. A trapped device holds the interrupt of an entry that is not started, and one that is
    /// suspended holds that of each entry. Otherwise the interrupt of a masked entry, of one that is not started, or of a
    /// device that is held off, is dropped: this fake has no pending bits.
    pub fn raise(&mut self, entry: Entry) {
        if self.held_off.contains(&entry.device) {
            return;
        }
        if self.suspended.contains(&entry.device) {
            self.latched.insert(entry);
            return;
        }
        let trapped = self.trapped.get(&entry.device) == Some(&entry.store);
        if trapped && !self.started.contains_key(&entry) {
            self.latched.insert(entry);
        }
        let Some(started) = self.started.get_mut(&entry).filter(|started| !started.masked) else { return };
        // A full counter has the interrupt in it.
        let _ = started.signals.eventfd.write(1);
        started.count += 1;
        *self.sums.entry(entry.device).or_default() += 1;
        let id = started.signals.id;
        let gsi = self.irqfds.iter().find(|(_, irqfd)| irqfd.id == id).map(|(gsi, _)| *gsi);
        if let Some(gsi) = gsi {
            self.inject(gsi);
        }
    }

    /// Delivers what the eventfd of a GSI has counted, merged into one, as an irqfd does.
    pub(super) fn inject(&mut self, gsi: u32) {
        let Some(irqfd) = self.irqfds.get(&gsi) else { return };
        if irqfd.eventfd.read().is_err() {
            return;
        }
        let delivery =
            self.routes.get(&gsi).map(|r| Delivery { destination: r.destination(), vector: r.vector() });
        match delivery {
            Some(delivery) => self.deliveries.push(delivery),
            None => self.breach(format!("an interrupt of GSI {gsi} is lost: no route")),
        }
    }

    /// Notes a call, charges the budget, and fails it if its turn has come.
    pub(super) fn note(&mut self, call: BackendCall) -> io::Result<()> {
        self.calls.push(call);
        let kind = call.kind();
        if let Some(left) = self.budget.get_mut(&kind) {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => self.breach(format!("one more {call:?} than allowed")),
            }
        }
        if kind.is_of_device() && self.expected == Some(Operation::RETARGET) {
            self.breach(format!("RETARGET touches the device: {call:?}"));
        }
        self.faults.meet(kind)
    }

    pub(super) fn breach(&mut self, what: impl std::fmt::Display) {
        let during = self.expected;
        self.violations.push(format!("{what} (during {during:?})"));
    }

    /// Identifies an eventfd, and keeps it alive from now on.
    pub(super) fn see(&mut self, eventfd: &EventFd) -> io::Result<KnownEventfd> {
        let id = identity::id(eventfd);
        let seen = match self.seen.get(&id) {
            Some(seen) => seen.clone(),
            None => KnownEventfd { id, eventfd: Arc::new(eventfd.try_clone()?) },
        };
        Ok(self.seen.entry(id).or_insert(seen).clone())
    }
}
