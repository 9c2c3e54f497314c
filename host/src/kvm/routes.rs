//! The routing table that KVM holds, and the GSIs in it.

use super::{GsiRoute, IrqRouter, KvmMessage, MAX_GSI};
use crate::irte::Route;
use std::io;
use vm_allocator::IdAllocator;

/// GSIs that are not in use. They are taken lowest first, because KVM's table is as long as the highest one.
#[derive(Debug)]
pub struct GsiPool {
    ids: IdAllocator,
    free: u32,
}

impl GsiPool {
    /// GSIs from `first` (those below belong to the VM's I/O APIC) up to KVM's limit, at most `most` of them.
    /// `None` if that leaves none.
    #[must_use]
    pub fn new(first: u32, most: u32) -> Option<Self> {
        let end = first.checked_add(most)?.min(MAX_GSI);
        let ids = IdAllocator::new(first, end.checked_sub(1)?).ok()?;
        Some(Self { ids, free: end - first })
    }

    /// The lowest free GSI, or `None` when all are taken.
    pub fn take(&mut self) -> Option<u32> {
        let gsi = self.ids.allocate_id().ok()?;
        self.free -= 1;
        Some(gsi)
    }

    /// Gives `gsi` back. One that was not taken is ignored.
    pub fn give_back(&mut self, gsi: u32) {
        if self.ids.free_id(gsi).is_ok() {
            self.free += 1;
        }
    }

    /// Number of free GSIs.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free
    }
}

/// The table as KVM has it, and the router that holds it there.
///
/// `KVM_SET_GSI_ROUTING` replaces the whole table and waits for a grace period, so changes come in batches: one call
/// of [`RouteTable::apply`], one ioctl.
pub struct RouteTable {
    router: Box<dyn IrqRouter>,
    routes: Vec<GsiRoute>,
    /// Where a GSI stands in `routes`.
    position: Vec<Option<usize>>,
}

impl RouteTable {
    /// An empty table over `router`.
    #[must_use]
    pub fn new(router: Box<dyn IrqRouter>) -> Self {
        Self { router, routes: Vec::new(), position: Vec::new() }
    }

    /// The router, for irqfds.
    pub fn router(&mut self) -> &mut dyn IrqRouter {
        &mut *self.router
    }

    /// Sets (`Some`) or drops (`None`) the routes of some GSIs, with one ioctl, or none if nothing changes.
    ///
    /// # Errors
    /// As the kernel gave it; the table is then as before.
    pub fn apply(&mut self, changes: &[(u32, Option<Route>)]) -> io::Result<()> {
        let changes: Vec<_> = changes.iter().map(|&(gsi, route)| (gsi, route.map(Into::into))).collect();
        self.apply_messages(&changes)
    }

    /// The same for messages of either kind.
    ///
    /// # Errors
    /// As the kernel gave it; the table is then as before.
    pub fn apply_messages(&mut self, changes: &[(u32, Option<KvmMessage>)]) -> io::Result<()> {
        let undo: Vec<_> = changes.iter().map(|&(gsi, message)| (gsi, self.put(gsi, message))).collect();
        let changed = undo.iter().zip(changes).any(|(old, new)| old != new);
        if !changed {
            return Ok(());
        }
        let result = self.router.set_routes(&self.routes);
        if result.is_err() {
            for &(gsi, message) in undo.iter().rev() {
                self.put(gsi, message);
            }
        }
        result
    }

    /// Number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Changes one line of our copy and answers with what stood there.
    fn put(&mut self, gsi: u32, message: Option<KvmMessage>) -> Option<KvmMessage> {
        let index = gsi as usize;
        if index >= self.position.len() {
            self.position.resize(index + 1, None);
        }
        match (self.position[index], message) {
            (Some(at), Some(new)) => Some(std::mem::replace(&mut self.routes[at].message, new)),
            (Some(at), None) => {
                let old = self.routes.swap_remove(at);
                self.position[index] = None;
                if let Some(moved) = self.routes.get(at) {
                    self.position[moved.gsi as usize] = Some(at);
                }
                Some(old.message)
            }
            (None, Some(new)) => {
                self.position[index] = Some(self.routes.len());
                self.routes.push(GsiRoute { gsi, message: new });
                None
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use vmm_sys_util::eventfd::EventFd;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<(Vec<Vec<GsiRoute>>, bool)>>);

    impl IrqRouter for Log {
        fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()> {
            let mut log = self.0.lock().unwrap();
            if log.1 {
                return Err(io::Error::from_raw_os_error(libc::ENOMEM));
            }
            let mut routes = routes.to_vec();
            routes.sort_by_key(|r| r.gsi);
            log.0.push(routes);
            Ok(())
        }
        fn attach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
            Ok(())
        }
        fn detach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
            Ok(())
        }
    }

    fn route(vector: u8) -> Route {
        Route::for_tests(0, vector)
    }

    fn line(gsi: u32, vector: u8) -> GsiRoute {
        GsiRoute { gsi, message: route(vector).into() }
    }

    #[test]
    fn a_batch_is_one_ioctl_with_the_whole_table() {
        let log = Log::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        table.apply(&[(24, Some(route(40))), (25, Some(route(41))), (26, Some(route(42)))]).unwrap();
        table.apply(&[(24, None), (25, Some(route(99)))]).unwrap();
        let written = log.0.lock().unwrap().0.clone();
        assert_eq!(
            written,
            [vec![line(24, 40), line(25, 41), line(26, 42)], vec![line(25, 99), line(26, 42)]]
        );
    }

    #[test]
    fn no_change_is_no_ioctl() {
        let log = Log::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        table.apply(&[(24, Some(route(40)))]).unwrap();
        table.apply(&[(24, Some(route(40))), (25, None)]).unwrap();
        table.apply(&[]).unwrap();
        assert_eq!(log.0.lock().unwrap().0.len(), 1);
    }

    #[test]
    fn a_refused_batch_leaves_the_table_as_before() {
        let log = Log::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        table.apply(&[(24, Some(route(40))), (25, Some(route(41)))]).unwrap();
        log.0.lock().unwrap().1 = true;
        let error = table.apply(&[(24, None), (24, Some(route(50))), (30, Some(route(60)))]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        log.0.lock().unwrap().1 = false;
        table.apply(&[(31, Some(route(70)))]).unwrap();
        let last = log.0.lock().unwrap().0.last().cloned().unwrap();
        assert_eq!(last, [line(24, 40), line(25, 41), line(31, 70)]);
    }

    #[test]
    fn gsis_are_taken_lowest_first_and_come_back() {
        let mut pool = GsiPool::new(24, 3).unwrap();
        assert_eq!(
            [pool.take(), pool.take(), pool.take(), pool.take()],
            [Some(24), Some(25), Some(26), None]
        );
        pool.give_back(25);
        pool.give_back(25);
        pool.give_back(7);
        assert_eq!(pool.free(), 1);
        assert_eq!(pool.take(), Some(25));
    }

    #[test]
    fn the_pool_ends_where_kvm_ends() {
        assert_eq!(GsiPool::new(24, u32::MAX - 24).unwrap().free(), MAX_GSI - 24);
        assert!(GsiPool::new(MAX_GSI, 1).is_none());
        assert!(GsiPool::new(24, 0).is_none());
    }
}
