//! The fake KVM.

use super::{BackendCall, Delivery, FakePlatform, SharedPlatform};
use crate::eventfd::EventFd;
use crate::kvm::{GsiRoute, IrqRouter, MAX_GSI, detach_each};
use crate::message::Message;
use pvir_abi::{FIRST_DEVICE_VECTOR, Operation};
use std::collections::BTreeMap;
use std::io;

/// An [`IrqRouter`] that records each call on its [`FakePlatform`], and each breach of the safe order.
pub struct FakeKvm {
    platform: SharedPlatform,
}

impl FakeKvm {
    /// The KVM of `platform`.
    #[must_use]
    pub fn new(platform: SharedPlatform) -> Self {
        Self { platform }
    }
}

impl IrqRouter for FakeKvm {
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
        let mut platform = self.platform.lock();
        let mut table = BTreeMap::new();
        for line in routes {
            platform.check_gsi(line.gsi);
            if table.insert(line.gsi, line.message).is_some() {
                platform.breach(format!("GSI {} stands twice in the table", line.gsi));
            }
        }
        let dropped = |gsi: &&u32| !table.contains_key(gsi) && platform.routes.contains_key(gsi);
        let left_alone: Vec<u32> = platform.irqfds.keys().filter(dropped).copied().collect();
        for gsi in &left_alone {
            if platform.irqfds.get(gsi).is_some_and(|irqfd| platform.may_be_signalled(irqfd.id)) {
                platform.breach(format!("the route of GSI {gsi} is dropped under its irqfd"));
            }
            if platform.queued.contains(gsi) {
                platform.breach(format!(
                    "the route of GSI {gsi} is dropped while an injection of it may be queued"
                ));
            }
        }
        let is_changed = |gsi: &&u32| {
            let old_and_new = platform.routes.get(gsi).zip(table.get(gsi));
            old_and_new.is_some_and(|(old, new)| old != new)
        };
        let changed: Vec<u32> = platform.queued.iter().filter(is_changed).copied().collect();
        for gsi in changed {
            platform
                .breach(format!("the route of GSI {gsi} is changed while an injection of it may be queued"));
        }
        if table == platform.routes {
            platform.breach("a table is set that is set already");
        }
        platform.note(BackendCall::SetRoutes(routes.len()))?;
        platform.armed.retain(|gsi| !table.contains_key(gsi));
        platform.idle.retain(|gsi| !table.contains_key(gsi));
        platform.idle.extend(left_alone);
        platform.routes = table;
        Ok(())
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut platform = self.platform.lock();
        if !platform.routes.contains_key(&gsi) {
            platform.breach(format!("an irqfd is attached to GSI {gsi}, which has no route"));
        }
        platform.attach(eventfd, gsi, BackendCall::Attach(gsi))
    }

    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut platform = self.platform.lock();
        if platform.routes.contains_key(&gsi) {
            platform.breach(format!("GSI {gsi} is armed ahead and has a route already"));
        }
        let id = platform.see(eventfd)?.id;
        if platform.is_started(id) {
            platform.breach(format!("GSI {gsi} is armed ahead with an eventfd that a device signals"));
        }
        platform.armed.insert(gsi);
        platform.attach(eventfd, gsi, BackendCall::Arm(gsi)).inspect_err(|_| {
            platform.armed.remove(&gsi);
        })
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut platform = self.platform.lock();
        let id = platform.see(eventfd)?.id;
        if platform.irqfds.get(&gsi).is_none_or(|irqfd| irqfd.id != id) {
            platform.breach(format!("an irqfd is detached from GSI {gsi}, which does not have it"));
        }
        let parks = matches!(platform.expected, None | Some(Operation::RETARGET));
        if !parks && platform.is_started(id) {
            platform.breach(format!("the irqfd of GSI {gsi} is detached before its interrupt is stopped"));
        }
        platform.note(BackendCall::Detach(gsi))?;
        platform.irqfds.remove(&gsi);
        platform.armed.remove(&gsi);
        platform.idle.remove(&gsi);
        platform.used_by.remove(&id);
        platform.queued.remove(&gsi);
        Ok(())
    }

    fn discard(&mut self, lines: Vec<(EventFd, u32)>) -> Vec<(EventFd, u32, io::Error)> {
        let several = lines.len() > 1;
        for (eventfd, gsi) in &lines {
            let mut platform = self.platform.lock();
            if platform.routes.contains_key(gsi) || platform.queued.contains(gsi) {
                platform.breach(format!(
                    "GSI {gsi} is discarded with a route, or while an injection of it may be queued"
                ));
            }
            let Ok(id) = platform.see(eventfd).map(|seen| seen.id) else { continue };
            if platform.is_started(id) {
                platform.breach(format!("GSI {gsi} is discarded while a device signals its eventfd"));
            }
            if several && !platform.releases_eventfds && platform.used_by.contains_key(&id) {
                platform.breach(format!(
                    "the irqfd of GSI {gsi} is to end with an eventfd that a device may still have"
                ));
            }
        }
        detach_each(self, lines)
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn signal(&mut self, message: Message) -> io::Result<()> {
        let hook = {
            let mut platform = self.platform.lock();
            if !message.is_fixed_physical() || message.vector() < FIRST_DEVICE_VECTOR {
                platform.breach(format!("{message:?} is injected, which no guest can have asked for"));
            }
            let delivery = Delivery { destination: message.destination(), vector: message.vector() };
            platform.note(BackendCall::Signal(delivery))?;
            platform.deliveries.push(delivery);
            platform.when_signalled.clone()
        };
        hook.into_iter().for_each(|hook| hook());
        Ok(())
    }
}

impl FakePlatform {
    fn attach(&mut self, eventfd: &EventFd, gsi: u32, call: BackendCall) -> io::Result<()> {
        let seen = self.see(eventfd)?;
        let id = seen.id;
        self.check_gsi(gsi);
        if self.expected == Some(Operation::MAP) && self.is_started(id) {
            self.breach(format!("the interrupt of GSI {gsi} was started before its irqfd was attached"));
        }
        if self.irqfds.contains_key(&gsi) || self.irqfds.values().any(|irqfd| irqfd.id == id) {
            self.breach(format!("GSI {gsi} or its eventfd has an irqfd already"));
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        self.note(call)?;
        // What was counted before is injected from KVM's work queue.
        if seen.holds_interrupt() {
            self.queued.insert(gsi);
        }
        self.irqfds.insert(gsi, seen);
        self.inject(gsi);
        Ok(())
    }

    fn check_gsi(&mut self, gsi: u32) {
        if !(self.first_gsi..MAX_GSI).contains(&gsi) {
            self.breach(format!("GSI {gsi} is not between {} and {MAX_GSI}", self.first_gsi));
        }
    }
}
