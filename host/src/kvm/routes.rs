//! A copy of the routing table in KVM, and the changes to it that are not in KVM yet.

use super::{GsiRoute, IrqRouter};
use crate::message::Message;
use std::io;

/// The VM's MSI routes as KVM has them, and the [`IrqRouter`] that KVM gets them by.
///
/// `KVM_SET_GSI_ROUTING` replaces the whole table and waits for an RCU grace period, so changes come in batches: any
/// number of [`RouteTable::change`] and one [`RouteTable::apply`] are one ioctl.
pub struct RouteTable {
    router: Box<dyn IrqRouter>,
    routes: Vec<GsiRoute>,
    /// Index in `routes` of the route of each GSI.
    position: Vec<Option<u32>>,
    /// How the changes that are not applied yet are undone.
    undo: Vec<(u32, Option<Message>)>,
}

impl RouteTable {
    /// An empty table over `router`. KVM is not called.
    #[must_use]
    pub fn new(router: Box<dyn IrqRouter>) -> Self {
        Self { router, routes: Vec::new(), position: Vec::new(), undo: Vec::new() }
    }

    /// The router, for attaching and detaching irqfds.
    pub fn router(&mut self) -> &mut dyn IrqRouter {
        &mut *self.router
    }

    /// Sets (`Some`) or drops (`None`) the route of `gsi` in this copy. KVM gets the change with the next
    /// [`apply`](Self::apply).
    #[inline]
    pub fn change(&mut self, gsi: u32, message: Option<Message>) {
        let old = self.put(gsi, message);
        if old != message {
            self.undo.push((gsi, old));
        }
    }

    /// Makes room for so many changes that add a route.
    pub fn reserve(&mut self, added: usize) {
        self.routes.reserve(added);
        self.undo.reserve(added);
    }

    /// Whether a GSI has a route, with the changes that are not applied yet.
    #[must_use]
    #[inline]
    pub fn has(&self, gsi: u32) -> bool {
        self.position.get(gsi as usize).is_some_and(Option::is_some)
    }

    /// The message that `gsi` injects, changes that are not applied yet included. `None` if the GSI has no route.
    #[must_use]
    pub fn get(&self, gsi: u32) -> Option<Message> {
        let at = (*self.position.get(gsi as usize)?)?;
        self.routes.get(at as usize).map(|route| route.message)
    }

    /// Gives all changes since the last call to KVM with one `KVM_SET_GSI_ROUTING`. Without a change there is no
    /// ioctl.
    ///
    /// # Errors
    /// The errno of `KVM_SET_GSI_ROUTING`. The changes are then undone: KVM and this copy hold the routes of the last
    /// call.
    pub fn apply(&mut self) -> io::Result<()> {
        if self.undo.is_empty() {
            return Ok(());
        }
        let result = self.router.set_routes(&self.routes);
        let mut undo = std::mem::take(&mut self.undo);
        if result.is_err() {
            for &(gsi, message) in undo.iter().rev() {
                self.put(gsi, message);
            }
        }
        undo.clear();
        self.undo = undo;
        result
    }

    /// Whether there are changes that [`apply`](Self::apply) would give to KVM.
    pub(crate) fn has_changes(&self) -> bool {
        !self.undo.is_empty()
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
    #[inline]
    fn put(&mut self, gsi: u32, message: Option<Message>) -> Option<Message> {
        let index = gsi as usize;
        if index >= self.position.len() {
            self.position.resize((index + 1).next_power_of_two(), None);
        }
        match (self.position[index], message) {
            (Some(at), Some(new)) => Some(std::mem::replace(&mut self.routes[at as usize].message, new)),
            (Some(at), None) => {
                let old = self.routes.swap_remove(at as usize);
                self.position[index] = None;
                if let Some(moved) = self.routes.get(at as usize) {
                    self.position[moved.gsi as usize] = Some(at);
                }
                Some(old.message)
            }
            (None, Some(new)) => {
                // There are no more routes than GSIs.
                self.position[index] = u32::try_from(self.routes.len()).ok();
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
    use crate::eventfd::EventFd;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct RecordingRouter(Arc<Mutex<(Vec<Vec<GsiRoute>>, bool)>>);

    impl IrqRouter for RecordingRouter {
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

    fn route(vector: u8) -> Message {
        Message::fixed(0, vector)
    }

    fn apply(table: &mut RouteTable, changes: &[(u32, Option<Message>)]) -> io::Result<()> {
        changes.iter().for_each(|&(gsi, message)| table.change(gsi, message));
        table.apply()
    }

    fn line(gsi: u32, vector: u8) -> GsiRoute {
        GsiRoute { gsi, message: route(vector) }
    }

    #[test]
    fn a_batch_is_one_ioctl_with_the_whole_table() {
        let log = RecordingRouter::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        apply(&mut table, &[(24, Some(route(40))), (25, Some(route(41))), (26, Some(route(42)))]).unwrap();
        apply(&mut table, &[(24, None), (25, Some(route(99)))]).unwrap();
        let written = log.0.lock().unwrap().0.clone();
        assert_eq!(
            written,
            [vec![line(24, 40), line(25, 41), line(26, 42)], vec![line(25, 99), line(26, 42)]]
        );
    }

    #[test]
    fn no_change_is_no_ioctl() {
        let log = RecordingRouter::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        apply(&mut table, &[(24, Some(route(40)))]).unwrap();
        apply(&mut table, &[(24, Some(route(40))), (25, None)]).unwrap();
        apply(&mut table, &[]).unwrap();
        assert_eq!(log.0.lock().unwrap().0.len(), 1);
    }

    #[test]
    fn a_refused_batch_leaves_the_table_as_before() {
        let log = RecordingRouter::default();
        let mut table = RouteTable::new(Box::new(log.clone()));
        apply(&mut table, &[(24, Some(route(40))), (25, Some(route(41)))]).unwrap();
        log.0.lock().unwrap().1 = true;
        let error =
            apply(&mut table, &[(24, None), (24, Some(route(50))), (30, Some(route(60)))]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        log.0.lock().unwrap().1 = false;
        apply(&mut table, &[(31, Some(route(70)))]).unwrap();
        let last = log.0.lock().unwrap().0.last().cloned().unwrap();
        assert_eq!(last, [line(24, 40), line(25, 41), line(31, 70)]);
    }
}
