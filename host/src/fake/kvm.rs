//! The fake KVM.

use super::world::Irqfd;
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
        let orphans: Vec<u32> = world.irqfds.keys().filter(|gsi| !table.contains_key(gsi)).copied().collect();
        for gsi in orphans {
            world.breach(format!("the route of GSI {gsi} is dropped under its irqfd"));
        }
        if table == world.routes {
            world.breach("a table is set that is set already");
        }
        world.note(Call::SetRoutes(routes.len()))?;
        world.routes = table;
        Ok(())
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut world = self.world.lock();
        let id = world.see(eventfd)?;
        world.check_gsi(gsi);
        if !world.routes.contains_key(&gsi) {
            world.breach(format!("an irqfd is attached to GSI {gsi}, which has no route"));
        }
        if world.expected == Some(Operation::MAP) && world.is_started(id) {
            world.breach(format!("the interrupt of GSI {gsi} was started before its irqfd was attached"));
        }
        if world.irqfds.contains_key(&gsi) || world.irqfds.values().any(|irqfd| irqfd.id == id) {
            world.breach(format!("GSI {gsi} or its eventfd has an irqfd already"));
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        world.note(Call::Attach(gsi))?;
        world.irqfds.insert(gsi, Irqfd { id, eventfd: eventfd.try_clone()? });
        world.inject(gsi);
        Ok(())
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let mut world = self.world.lock();
        let id = world.see(eventfd)?;
        if world.irqfds.get(&gsi).is_none_or(|irqfd| irqfd.id != id) {
            world.breach(format!("an irqfd is detached from GSI {gsi}, which does not have it"));
        }
        let parks = matches!(world.expected, None | Some(Operation::RETARGET));
        if !parks && world.is_started(id) {
            world.breach(format!("the irqfd of GSI {gsi} is detached before its interrupt is stopped"));
        }
        world.note(Call::Detach(gsi))?;
        world.irqfds.remove(&gsi);
        Ok(())
    }
}

impl World {
    fn check_gsi(&mut self, gsi: u32) {
        if !(self.first_gsi..MAX_GSI).contains(&gsi) {
            self.breach(format!("GSI {gsi} is not between {} and {MAX_GSI}", self.first_gsi));
        }
    }
}
