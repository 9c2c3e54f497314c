//! The GSI routing table of a VM, which pvir and the VMM share.
//!
//! `KVM_SET_GSI_ROUTING` replaces the whole table of the VM. Two that each set their own routes would erase each
//! other's, so there is one table here, and each changes its own part.

mod error;
mod vmm_route;

pub use error::RoutingError;
pub use vmm_route::{RouteTarget, VmmRoute};

use super::{GsiRoute, KvmRouter, MAX_GSI, VmDescriptor};
use crate::counters::{Counter, Counters};
use kvm_bindings::{KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The GSI routing table of one VM: the VMM's routes and pvir's. A clone is another handle of the same table.
///
/// The VMM sets its own routes here and nowhere else, and lends pvir a range of GSIs with [`router`](Self::router). The
/// routes of each survive every change of the other's. Whatever is changed, a call is one `KVM_SET_GSI_ROUTING`; if that
/// fails, both parts of the table and KVM are as they were.
///
/// A VM with a full irqchip in the kernel (`KVM_CREATE_IRQCHIP`) has routes from the start, which the first
/// `KVM_SET_GSI_ROUTING` drops. Such a VMM sets [`VmmRoute::of_full_irqchip`] and what it adds to them before the guest
/// runs.
///
/// # Locks
/// The table has a lock of its own, which is held across the ioctl. The service takes it under the VM's lock. The VMM's
/// threads take this one alone, so they never wait for a call of the guest, but at most for one ioctl.
///
/// ```no_run
/// use pvir_host::counters::Counters;
/// use pvir_host::kvm::{GsiRouting, MAX_GSI, VmDescriptor, VmmRoute};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let vm = kvm_ioctls::Kvm::new()?.create_vm()?;
/// let counters = Counters::new();
/// let routing = GsiRouting::new(VmDescriptor::of(&vm)?, &counters);
/// // pvir's: from 1024 on.
/// let router = routing.router(1024..MAX_GSI, &counters)?;
/// // The VMM's: an irqfd of its own, whose message it changes at any time and from any thread.
/// routing.set(24, &[VmmRoute::msi(24, 0xfee0_0000, 0x41).target])?;
/// # drop(router);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GsiRouting {
    pub(super) vm: VmDescriptor,
    table: Arc<Mutex<Table>>,
    set_gsi_routing: Counter,
    irqfd: Counter,
}

#[derive(Debug, Default)]
struct Table {
    vmm: Vec<VmmRoute>,
    /// The table that KVM was given last: an entry for each route of the VMM's, and pvir's behind them. `None` before
    /// the first.
    in_kvm: Option<KvmIrqRouting>,
    /// What pvir is lent; `None` while it has no router.
    lent: Option<Range<u32>>,
}

impl GsiRouting {
    /// The table of `vm`, empty as yet. KVM is not called. Each ioctl is counted in `counters`, as
    /// `KVM_SET_GSI_ROUTING` and `KVM_IRQFD (of the VMM)`.
    #[must_use]
    pub fn new(vm: VmDescriptor, counters: &Counters) -> Self {
        let [set_gsi_routing, irqfd] =
            ["KVM_SET_GSI_ROUTING", "KVM_IRQFD (of the VMM)"].map(|name| counters.ioctl(name));
        Self { vm, table: Arc::default(), set_gsi_routing, irqfd }
    }

    /// Lends the GSIs `gsis` to pvir until the router is dropped, and counts its ioctls in `counters`.
    ///
    /// # Errors
    /// [`RoutingError::BadRange`]; [`RoutingError::LentAlready`] while there is another router;
    /// [`RoutingError::GsiInUse`] if one of them has a route of the VMM's.
    pub fn router(&self, gsis: Range<u32>, counters: &Counters) -> Result<KvmRouter, RoutingError> {
        let mut table = self.lock();
        if gsis.is_empty() || gsis.end > MAX_GSI {
            return Err(RoutingError::BadRange { asked: gsis });
        }
        if let Some(pvir) = table.lent.clone() {
            return Err(RoutingError::LentAlready { pvir });
        }
        if let Some(route) = table.vmm.iter().find(|route| gsis.contains(&route.gsi)) {
            return Err(RoutingError::GsiInUse { gsi: route.gsi, asked: gsis });
        }
        table.lent = Some(gsis.clone());
        drop(table);
        Ok(KvmRouter::new(self.clone(), gsis, counters))
    }

    /// The VMM's routes.
    #[must_use]
    pub fn routes(&self) -> Vec<VmmRoute> {
        self.lock().vmm.clone()
    }

    /// Replaces all routes of the VMM's by `routes`.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn replace(&self, routes: &[VmmRoute]) -> Result<(), RoutingError> {
        self.change(|vmm| {
            vmm.clear();
            vmm.extend_from_slice(routes);
        })
    }

    /// Replaces the routes of one GSI of the VMM's by routes to `targets`: none drops them.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn set(&self, gsi: u32, targets: &[RouteTarget]) -> Result<(), RoutingError> {
        self.change(|vmm| {
            vmm.retain(|route| route.gsi != gsi);
            vmm.extend(targets.iter().map(|&target| VmmRoute { gsi, target }));
        })
    }

    /// Changes the VMM's routes, any number of them, with one `KVM_SET_GSI_ROUTING`. `edit` is called once, under the
    /// table's lock: it must not use this table.
    ///
    /// # Errors
    /// [`RoutingError::GsiOfPvir`], [`RoutingError::NoSuchGsi`] and [`RoutingError::TooManyRoutes`] for what must not be
    /// asked of KVM; [`RoutingError::Kvm`] with its errno. The routes are then as before.
    pub fn change(&self, edit: impl FnOnce(&mut Vec<VmmRoute>)) -> Result<(), RoutingError> {
        let mut table = self.lock();
        let mut vmm = table.vmm.clone();
        edit(&mut vmm);
        if vmm == table.vmm {
            return Ok(());
        }
        vmm.iter().try_for_each(|route| table.check_of_vmm(route.gsi))?;
        let pvir = table.pvir();
        let entries = vmm.iter().map(VmmRoute::entry).chain(pvir.iter().copied());
        let in_kvm = self.give_to_kvm(vmm.len() + pvir.len(), entries)?;
        (table.vmm, table.in_kvm) = (vmm, Some(in_kvm));
        Ok(())
    }

    /// Attaches an eventfd of the VMM's to a GSI of the VMM's (`KVM_IRQFD`; KVM API, section 4.75), for a VMM that has no
    /// other way to. If the eventfd's counter is not zero, KVM injects the interrupt at once.
    ///
    /// # Errors
    /// [`RoutingError::GsiOfPvir`] and [`RoutingError::NoSuchGsi`]; [`RoutingError::Irqfd`] with its errno, for example
    /// `EBUSY` if the eventfd is attached already.
    pub fn attach_irqfd(&self, eventfd: BorrowedFd<'_>, gsi: u32) -> Result<(), RoutingError> {
        self.lock().check_of_vmm(gsi)?;
        self.irqfd.count();
        self.vm.attach(eventfd, gsi).map_err(|source| RoutingError::Irqfd { gsi, source })
    }

    /// Detaches an eventfd of the VMM's from its GSI. After it has returned, KVM injects nothing more for it.
    ///
    /// # Errors
    /// As [`attach_irqfd`](Self::attach_irqfd). The eventfd may then still be attached.
    pub fn detach_irqfd(&self, eventfd: BorrowedFd<'_>, gsi: u32) -> Result<(), RoutingError> {
        self.lock().check_of_vmm(gsi)?;
        self.irqfd.count();
        self.vm.detach(eventfd, gsi).map_err(|source| RoutingError::Irqfd { gsi, source })
    }

    /// Replaces all routes of pvir's. The GSIs of `routes` are those that it is lent.
    pub(super) fn replace_of_pvir(&self, routes: &[GsiRoute]) -> Result<(), RoutingError> {
        let mut table = self.lock();
        let lent = table.lent.clone().unwrap_or_default();
        if let Some(route) = routes.iter().find(|route| !lent.contains(&route.gsi)) {
            return Err(RoutingError::GsiOfVmm { gsi: route.gsi, pvir: lent });
        }
        let entries = table.vmm.iter().map(VmmRoute::entry).chain(routes.iter().map(entry));
        table.in_kvm = Some(self.give_to_kvm(table.vmm.len() + routes.len(), entries)?);
        Ok(())
    }

    /// The router is gone: its routes go with it, if it has left any, and the GSIs may be lent again.
    pub(super) fn end_of_router(&self) {
        let left = !self.lock().pvir().is_empty();
        if let Some(error) = left.then(|| self.replace_of_pvir(&[])).and_then(Result::err) {
            tracing::warn!("routes of a service that has ended stay in KVM until the next change: {error}");
        }
        let mut table = self.lock();
        let of_vmm = table.vmm.len();
        table.in_kvm.iter_mut().for_each(|in_kvm| {
            let mut place = 0..;
            in_kvm.retain(|_| place.next().is_some_and(|place| place < of_vmm));
        });
        table.lent = None;
    }

    /// Sets the whole table: `KVM_SET_GSI_ROUTING` with so many routes. The answer is the table that KVM has now.
    fn give_to_kvm(
        &self,
        routes: usize,
        entries: impl Iterator<Item = kvm_irq_routing_entry>,
    ) -> Result<KvmIrqRouting, RoutingError> {
        // It refuses more than KVM does.
        let mut table =
            KvmIrqRouting::new(routes).map_err(|_| RoutingError::TooManyRoutes { asked: routes })?;
        table.as_mut_slice().iter_mut().zip(entries).for_each(|(slot, entry)| *slot = entry);
        self.set_gsi_routing.count();
        self.vm.set_gsi_routing(&table).map_err(|source| RoutingError::Kvm { routes, source })?;
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change is made whole after the ioctl, so a panic leaves the table as it was.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Checks that the VMM may use a GSI.
    fn check_of_vmm(&self, gsi: u32) -> Result<(), RoutingError> {
        if let Some(pvir) = self.lent.clone().filter(|lent| lent.contains(&gsi)) {
            return Err(RoutingError::GsiOfPvir { gsi, pvir });
        }
        if gsi < MAX_GSI { Ok(()) } else { Err(RoutingError::NoSuchGsi { gsi }) }
    }

    /// The entries of pvir's.
    fn pvir(&self) -> &[kvm_irq_routing_entry] {
        self.in_kvm.as_ref().and_then(|table| table.as_slice().get(self.vmm.len()..)).unwrap_or_default()
    }
}

/// A route of pvir's as KVM has it.
fn entry(route: &GsiRoute) -> kvm_irq_routing_entry {
    let message = route.message;
    let u = vmm_route::msi(message.address_lo(), message.address_hi(), message.data());
    kvm_irq_routing_entry { gsi: route.gsi, type_: KVM_IRQ_ROUTING_MSI, u, ..Default::default() }
}

#[cfg(test)]
mod tests;
