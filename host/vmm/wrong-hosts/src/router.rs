//! KVM's interrupt routing: what an eventfd has counted while it had no irqfd is thrown away.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use pvir_host::eventfd::EventFd;
use pvir_host::kvm::{GsiRoute, IrqRouter};
use pvir_host::message::Message;

use crate::list::Wrong;

/// How long a GSI that moves has no irqfd: long enough for an interrupt to fall into it.
const MOVING: Duration = Duration::from_micros(500);

/// Announcements that come so soon after one another are taken for one.
const CLOSE: Duration = Duration::from_secs(30);

/// A router that loses interrupts.
pub(crate) struct WrongRouter {
    router: Box<dyn IrqRouter>,
    wrong: Option<Wrong>,
    /// By GSI: a descriptor of our own for each eventfd that is attached.
    attached: BTreeMap<u32, EventFd>,
    /// By GSI: the routing table as it is.
    routes: BTreeMap<u32, GsiRoute>,
    /// When a vector of NOTIFY was raised last.
    signalled: Option<Instant>,
}

impl WrongRouter {
    pub(crate) fn new(router: Box<dyn IrqRouter>, wrong: Option<Wrong>) -> Self {
        Self { router, wrong, attached: BTreeMap::new(), routes: BTreeMap::new(), signalled: None }
    }

    /// The attached GSIs whose route the new table replaces.
    fn moving(&self, table: &BTreeMap<u32, GsiRoute>) -> Vec<u32> {
        let replaced = |gsi: &u32| {
            let routes = (self.routes.get(gsi), table.get(gsi));
            matches!(routes, (Some(old), Some(new)) if old != new)
        };
        self.attached.keys().copied().filter(replaced).collect()
    }
}

/// Throws away what an eventfd has counted.
fn drain(eventfd: &EventFd) {
    // Nothing may be in it: it does not block.
    let _ = eventfd.read();
}

impl IrqRouter for WrongRouter {
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
        let table: BTreeMap<u32, GsiRoute> = routes.iter().map(|route| (route.gsi, *route)).collect();
        let moving = match self.wrong {
            Some(Wrong::LostInRetarget) => self.moving(&table),
            _ => Vec::new(),
        };
        let Self { router, attached, .. } = self;
        for (gsi, eventfd) in moving.iter().filter_map(|gsi| Some((*gsi, attached.get(gsi)?))) {
            router.detach(eventfd, gsi)?;
        }
        if !moving.is_empty() {
            thread::sleep(MOVING);
        }
        let result = router.set_routes(routes);
        for (gsi, eventfd) in moving.iter().filter_map(|gsi| Some((*gsi, attached.get(gsi)?))) {
            drain(eventfd);
            router.attach(eventfd, gsi)?;
        }
        if result.is_ok() {
            self.routes = table;
        }
        result
    }

    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        if self.wrong == Some(Wrong::ParkedLost) {
            drain(eventfd);
        }
        let own = eventfd.try_clone()?;
        self.router.attach(eventfd, gsi)?;
        self.attached.insert(gsi, own);
        Ok(())
    }

    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.router.detach(eventfd, gsi)?;
        self.attached.remove(&gsi);
        Ok(())
    }

    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        let own = eventfd.try_clone()?;
        self.router.arm(eventfd, gsi)?;
        self.attached.insert(gsi, own);
        Ok(())
    }

    fn discard(&mut self, lines: Vec<(EventFd, u32)>) -> Vec<(EventFd, u32, io::Error)> {
        lines.iter().for_each(|(_, gsi)| _ = self.attached.remove(gsi));
        self.router.discard(lines)
    }

    fn can_signal(&self) -> bool {
        self.router.can_signal()
    }

    fn signal(&mut self, message: Message) -> io::Result<()> {
        let soon = self.signalled.is_some_and(|before| before.elapsed() < CLOSE);
        match self.wrong {
            Some(Wrong::NotifyLost) => return Ok(()),
            Some(Wrong::NotifyFirstOnly) if soon => return Ok(()),
            _ => {}
        }
        self.signalled = Some(Instant::now());
        self.router.signal(message)
    }
}
