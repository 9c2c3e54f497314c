//! Giving IRTEs back, from whatever they have reached: the one way down.

use super::vm::Vm;
use crate::irte::{Held, Irte, Origin};
use pvir_abi::{Handle, Status};
use std::collections::BTreeMap;
use std::io;

/// The messages of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent<T> {
    /// The entry.
    pub(super) origin: Origin,
    /// Number of messages.
    pub(super) count: u32,
    /// Whose they are.
    pub(super) of: T,
}

/// Puts entries into the order of their indices, and groups them into runs of consecutive ones of one store: each is one
/// `VFIO_DEVICE_SET_IRQS`.
pub(super) fn runs<T>(extents: &mut [Extent<T>]) -> impl Iterator<Item = &[Extent<T>]> {
    if !extents.is_sorted_by_key(|extent| extent.origin) {
        extents.sort_by_key(|extent| extent.origin);
    }
    extents.chunk_by(|one, next| {
        (one.origin.device, one.origin.store) == (next.origin.device, next.origin.store)
            && one.origin.index.checked_add(one.count) == Some(next.origin.index)
    })
}

/// IRTEs on the way down that did not come off whole, and how it was.
pub(super) type Stuck = BTreeMap<Handle, Status>;

impl Irte {
    /// Its messages, as those of `of`.
    pub(super) fn extent<T>(&self, of: T) -> Extent<T> {
        Extent { origin: self.origin, count: self.count(), of }
    }
}

impl Vm {
    /// Gives the IRTEs of `handles` back, in reverse of how they were made: the device's interrupts, then the
    /// irqfds, then the routes in one batch, then GSIs and eventfds. Handles that name nothing are passed over.
    ///
    /// Every handle is stale afterwards. A failure on the way is logged and does not stop the rest; what did not
    /// come off stays among the remains, which every later release tries again. The answer names the handles whose
    /// interrupt could not be stopped or whose irqfd would not come off.
    pub(super) fn release(&mut self, handles: &[Handle]) -> Stuck {
        let mut taken = std::mem::take(&mut self.remains);
        taken.reserve(handles.len());
        for &handle in handles {
            let Some(irte) = self.irtes.remove(handle) else { continue };
            self.leave(&irte);
            if irte.held == Held::default() {
                self.put_back(irte.lines);
            } else {
                taken.push((handle, irte));
            }
        }
        let mut stuck = Stuck::new();
        self.stop_interrupts(&mut taken, &mut stuck);
        self.detach_irqfds(&mut taken, &mut stuck);
        self.drop_routes(&mut taken);
        taken.retain(|(_, irte)| {
            let bare = irte.is_bare();
            if bare {
                irte.lines.iter().for_each(|line| self.gsis.give_back(line.gsi));
            }
            !bare
        });
        if !taken.is_empty() {
            self.remains = taken;
        }
        stuck
    }

    /// Nobody has the interrupt of its entry any more.
    fn leave(&mut self, irte: &Irte) {
        let Origin { device, store, index } = irte.origin;
        let Some(attached) = self.devices.get_mut(&device) else { return };
        if attached.mapped.clear(attached.device.backing(store, index)).is_some() {
            attached.held -= irte.count();
            self.held -= irte.count();
        }
    }

    /// Tries again what did not come off before.
    pub(super) fn sweep(&mut self) {
        self.take_leaving_off();
        if !self.remains.is_empty() {
            self.release(&[]);
        }
    }

    /// Whether an entry's interrupt was to be stopped and may still be started.
    pub(super) fn may_be_alive(&self, origin: &Origin) -> bool {
        if self.remains.is_empty() {
            return false;
        }
        let Some(attached) = self.devices.get(&origin.device) else { return false };
        let backing = |origin: &Origin| attached.device.backing(origin.store, origin.index);
        let same = |other: &Origin| other.device == origin.device && backing(other) == backing(origin);
        self.remains.iter().any(|(_, irte)| irte.held.interrupt && same(&irte.origin))
    }

    fn stop_interrupts(&mut self, taken: &mut [(Handle, Irte)], stuck: &mut Stuck) {
        let mut started = Vec::with_capacity(taken.len());
        let held = taken.iter().enumerate().filter(|(_, (_, irte))| irte.held.interrupt);
        held.for_each(|(place, (_, irte))| started.push(irte.extent(place)));
        for run in runs(&mut started) {
            let count = run.iter().map(|extent| extent.count).sum();
            let of_run = self.stop(&run[0].origin, count);
            for extent in run {
                let (handle, irte) = &mut taken[extent.of];
                // One bad entry leaves no other alive: after a failed run each entry goes by itself.
                let stopped = match &of_run {
                    Err(_) if run.len() > 1 => self.stop(&irte.origin, irte.count()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    Ok(()) => Ok(()),
                };
                irte.held.interrupt = stopped.is_err();
                if let Err(error) = stopped {
                    let status =
                        self.failed("stopping the interrupt", &irte.origin, Status::DEVICE_ERROR, &error);
                    stuck.insert(*handle, status);
                }
            }
        }
    }

    fn stop(&mut self, first: &Origin, count: u32) -> io::Result<()> {
        let attached = self.devices.get_mut(&first.device).ok_or(io::ErrorKind::NotFound)?;
        attached.device.stop(first.store, first.index, count)
    }

    /// Also where the interrupt did not stop: nobody is to be interrupted by it.
    fn detach_irqfds(&mut self, taken: &mut [(Handle, Irte)], stuck: &mut Stuck) {
        let mut attached = Vec::with_capacity(taken.len());
        let lines = taken.iter().flat_map(|(_, irte)| &irte.lines).filter(|line| line.attached);
        lines.for_each(|line| attached.push((&line.eventfd, line.gsi)));
        let mut failed = self.routes.router().detach_all(&attached).into_iter().peekable();
        let mut places = 0..;
        for (handle, irte) in taken {
            let mut first = None;
            for (line, place) in irte.lines.iter_mut().filter(|line| line.attached).zip(&mut places) {
                match failed.next_if(|(of, _)| *of == place) {
                    Some((_, error)) => first = first.or(Some(error)),
                    None => line.attached = false,
                }
            }
            if let Some(error) = first {
                let status = self.failed("detaching the irqfd", &irte.origin, Status::HOST_ERROR, &error);
                stuck.insert(*handle, status);
            }
        }
    }

    /// Never drops the route of a GSI that still has an irqfd: where an interrupt meets such a one, the kernel has died
    /// (CVE-2017-1000252, CVE-2022-49154). Such a GSI stays out of use.
    fn drop_routes(&mut self, taken: &mut [(Handle, Irte)]) {
        let free = |irte: &Irte| irte.held.route && !irte.is_attached();
        for (_, irte) in taken.iter().filter(|(_, irte)| free(irte)) {
            self.routes.change_all(irte.routes_to(None));
        }
        match self.routes.apply() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{Bdf, DeviceId, Store};

    fn origin(device: u8, store: Store, index: u32) -> Origin {
        Origin { device: DeviceId::new(0, Bdf::new(0, device, 0).unwrap()), store, index }
    }

    /// First entry, number of messages and places of each run.
    fn found(asked: &[(Origin, u32)]) -> Vec<(Origin, u32, Vec<usize>)> {
        let extent = |(of, &(origin, count))| Extent { origin, count, of };
        let mut extents: Vec<_> = asked.iter().enumerate().map(extent).collect();
        let run = |run: &[Extent<usize>]| {
            let count = run.iter().map(|extent| extent.count).sum();
            (run[0].origin, count, run.iter().map(|extent| extent.of).collect())
        };
        runs(&mut extents).map(run).collect()
    }

    #[test]
    fn consecutive_entries_make_one_run_whatever_their_order() {
        let asked = [
            origin(1, Store::MSIX, 5),
            origin(1, Store::MSIX, 3),
            origin(2, Store::MSIX, 6),
            origin(1, Store::MSIX, 4),
            origin(1, Store::MSIX, 8),
            origin(1, Store::IMS, 9),
            origin(1, Store::IMS, 6),
            origin(1, Store::IMS, 10),
        ];
        assert_eq!(
            found(&asked.map(|origin| (origin, 1))),
            [
                (origin(1, Store::MSIX, 3), 3, vec![1, 3, 0]),
                (origin(1, Store::MSIX, 8), 1, vec![4]),
                (origin(1, Store::IMS, 6), 1, vec![6]),
                (origin(1, Store::IMS, 9), 2, vec![5, 7]),
                (origin(2, Store::MSIX, 6), 1, vec![2]),
            ]
        );
    }

    #[test]
    fn the_messages_of_an_msi_are_one_run() {
        let asked =
            [(origin(1, Store::MSI, 0), 8), (origin(1, Store::MSIX, 8), 1), (origin(2, Store::MSI, 0), 32)];
        let found: Vec<_> = found(&asked).into_iter().map(|(_, count, members)| (count, members)).collect();
        assert_eq!(found, [(8, vec![0]), (1, vec![1]), (32, vec![2])]);
    }
}
