//! The fake KVM.

use super::{Call, SharedWorld, World};
use crate::kvm::{GsiRoute, IrqRouter, MAX_GSI};
use pvir_abi::Operation;
use std::collections::BTreeMap;
use std::io;
use vmm_sys_util::eventfd::EventFd;

/// A KVM that knows in which order it wants to be called.
pub struct FakeKvm {
    world: SharedWorld,
}

impl FakeKvm {
    /// The KVM of `world`.
    #[must_use]
    pub fn new(world: SharedWorld) -> Self {
        Self { world }
    }
}

impl IrqRouter for FakeKvm {
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut table = BTreeMap::new();
        for line in routes {
            world.check_gsi(line.gsi);
            if table.insert(line.gsi, line.message).is_some() {
                world.breach(format!("GSI {} stands twice in the table", line.gsi));
            }
        }
        let dropped = |gsi: &&u32| !table.contains_key(gsi) && world.routes.contains_key(gsi);
        let left_alone: Vec<u32> = world.irqfds.keys().filter(dropped).copied().collect();
        for gsi in &left_alone {
            if world.irqfds.get(gsi).is_some_and(|irqfd| world.may_be_signalled(irqfd.id)) {
                world.breach(format!("the route of GSI {gsi} is dropped under its irqfd"));
            }
            if world.queued.contains(gsi) {
                world.breach(format!(
                    "the route of GSI {gsi} is dropped while an injection of it may be queued"
                ));
            }
        }
        if table == world.routes {
            world.breach("a table is set that is set already");
        }
        world.note(Call::SetRoutes(routes.len()))?;
        world.armed.retain(|gsi| !table.contains_key(gsi));
        world.idle.retain(|gsi| !table.contains_key(gsi));
        world.idle.extend(left_alone);
        world.routes = table;
        Ok(())
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.routes.contains_key(&gsi) {
            world.breach(format!("an irqfd is attached to GSI {gsi}, which has no route"));
        }
        world.attach(eventfd, gsi, Call::Attach(gsi))
    }

    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut world = self.world.lock();
        if world.routes.contains_key(&gsi) {
            world.breach(format!("GSI {gsi} is armed ahead and has a route already"));
        }
        let id = world.see(eventfd)?.id;
        if world.is_started(id) {
            world.breach(format!("GSI {gsi} is armed ahead with an eventfd that a device signals"));
        }
        world.armed.insert(gsi);
        world.attach(eventfd, gsi, Call::Arm(gsi)).inspect_err(|_| {
            world.armed.remove(&gsi);
        })
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut world = self.world.lock();
        let id = world.see(eventfd)?.id;
        if world.irqfds.get(&gsi).is_none_or(|irqfd| irqfd.id != id) {
            world.breach(format!("an irqfd is detached from GSI {gsi}, which does not have it"));
        }
        let parks = matches!(world.expected, None | Some(Operation::RETARGET));
        if !parks && world.is_started(id) {
            world.breach(format!("the irqfd of GSI {gsi} is detached before its interrupt is stopped"));
        }
        world.note(Call::Detach(gsi))?;
        world.irqfds.remove(&gsi);
        world.armed.remove(&gsi);
        world.idle.remove(&gsi);
        world.used_by.remove(&id);
        world.queued.remove(&gsi);
        Ok(())
    }
}

impl World {
    fn attach(&mut self, eventfd: &EventFd, gsi: u32, call: Call) -> io::Result<()> {
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
