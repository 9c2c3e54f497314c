//! Giving IRTEs back, from whatever they have reached: the one way down.

use super::vm::Vm;
use crate::irte::{Irte, Origin};
use pvir_abi::{Handle, Status, Store};

/// Consecutive entries of one store of one device.
pub(super) struct Run {
    pub(super) first: Origin,
    /// Places in the list that was given.
    pub(super) members: Vec<usize>,
}

/// Groups origins into runs of consecutive indices: each is one `VFIO_DEVICE_SET_IRQS`.
pub(super) fn runs(origins: &[Origin]) -> Vec<Run> {
    let mut order: Vec<usize> = (0..origins.len()).collect();
    order.sort_by_key(|&place| origins[place]);
    let mut runs: Vec<Run> = Vec::new();
    for place in order {
        let next = origins[place];
        let follows = |run: &Run| {
            let length = u32::try_from(run.members.len()).unwrap_or(u32::MAX);
            (run.first.device, run.first.store) == (next.device, next.store)
                && run.first.index.checked_add(length) == Some(next.index)
        };
        match runs.last_mut() {
            Some(run) if follows(run) => run.members.push(place),
            _ => runs.push(Run { first: next, members: vec![place] }),
        }
    }
    runs
}

impl Vm {
    /// Gives the IRTEs of `handles` back, in reverse of how they were made: the device's interrupts, then the
    /// irqfds, then the routes in one batch, then GSIs and eventfds. Handles that name nothing are passed over.
    ///
    /// A failure on the way is logged and does not stop the rest. The answer names the handles whose interrupt may
    /// still be delivered, because their irqfd would not come off.
    pub(super) fn release(&mut self, handles: &[Handle]) -> Vec<Handle> {
        let mut taken: Vec<(Handle, Irte)> = Vec::with_capacity(handles.len());
        for &handle in handles {
            let Some(irte) = self.irtes.remove(handle) else { continue };
            if let Some(attached) = self.device_of(&irte.origin) {
                attached.mapped.remove(&(irte.origin.store, irte.origin.index));
            }
            taken.push((handle, irte));
        }
        self.stop_interrupts(&mut taken);
        let stuck = self.detach_irqfds(&mut taken);
        self.drop_routes(&mut taken);
        for (_, irte) in taken.iter().filter(|(_, irte)| !irte.held.route) {
            self.gsis.give_back(irte.gsi);
        }
        stuck
    }

    fn stop_interrupts(&mut self, taken: &mut [(Handle, Irte)]) {
        let started: Vec<usize> = (0..taken.len()).filter(|&i| taken[i].1.held.interrupt).collect();
        let origins: Vec<Origin> = started.iter().map(|&i| taken[i].1.origin).collect();
        for run in runs(&origins) {
            let Origin { store, index, .. } = run.first;
            let count = u32::try_from(run.members.len()).unwrap_or(u32::MAX);
            let Some(attached) = self.device_of(&run.first) else { continue };
            if let Err(error) = stop(attached, store, index, count) {
                self.failed("stopping the interrupt", &run.first, Status::DEVICE_ERROR, &error);
            }
            for member in run.members {
                taken[started[member]].1.held.interrupt = false;
            }
        }
    }

    fn detach_irqfds(&mut self, taken: &mut [(Handle, Irte)]) -> Vec<Handle> {
        let mut stuck = Vec::new();
        for (handle, irte) in taken.iter_mut().filter(|(_, irte)| irte.held.irqfd) {
            match self.routes.router().detach(&irte.eventfd, irte.gsi) {
                Ok(()) => irte.held.irqfd = false,
                Err(error) => {
                    self.failed("detaching the irqfd", &irte.origin, Status::HOST_ERROR, &error);
                    stuck.push(*handle);
                }
            }
        }
        stuck
    }

    /// Never drops the route of a GSI that still has an irqfd: the kernel has died of that (CVE-2017-1000252,
    /// CVE-2022-49154). Such a GSI stays out of use.
    fn drop_routes(&mut self, taken: &mut [(Handle, Irte)]) {
        let free = |irte: &Irte| irte.held.route && !irte.held.irqfd;
        let changes: Vec<_> =
            taken.iter().filter(|(_, irte)| free(irte)).map(|(_, irte)| (irte.gsi, None)).collect();
        match self.routes.apply(&changes) {
            Ok(()) => {
                for (_, irte) in taken.iter_mut().filter(|(_, irte)| free(irte)) {
                    irte.held.route = false;
                }
            }
            Err(error) => {
                if let Some((_, irte)) = taken.first() {
                    self.failed("dropping the routes", &irte.origin, Status::HOST_ERROR, &error);
                }
            }
        }
    }
}

/// One run if the device takes it, and otherwise each entry by itself, so that one bad entry leaves no other alive.
fn stop(attached: &mut super::vm::Attached, store: Store, first: u32, count: u32) -> std::io::Result<()> {
    let Err(of_run) = attached.device.stop(store, first, count) else { return Ok(()) };
    if count == 1 {
        return Err(of_run);
    }
    (first..first + count).try_for_each(|index| attached.device.stop(store, index, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{Bdf, DeviceId};

    fn origin(device: u8, store: Store, index: u32) -> Origin {
        Origin { device: DeviceId::new(0, Bdf::new(0, device, 0).unwrap()), store, index }
    }

    #[test]
    fn consecutive_entries_make_one_run_whatever_their_order() {
        let asked = [
            origin(1, Store::MSIX, 5),
            origin(1, Store::MSIX, 3),
            origin(2, Store::MSIX, 6),
            origin(1, Store::MSIX, 4),
            origin(1, Store::MSIX, 8),
        ];
        let found: Vec<_> = runs(&asked).into_iter().map(|run| (run.first, run.members)).collect();
        assert_eq!(
            found,
            [
                (origin(1, Store::MSIX, 3), vec![1, 3, 0]),
                (origin(1, Store::MSIX, 8), vec![4]),
                (origin(2, Store::MSIX, 6), vec![2]),
            ]
        );
    }
}
