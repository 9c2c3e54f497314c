//! The interface between the service and a device: the device signals eventfds, and knows the address/data pair of
//! each of its interrupts.

mod kernel_counts;
mod kernel_totals;
mod origin;
mod store_shape;
mod window;

pub use crate::isolation::NotIsolated;
pub use kernel_counts::KernelCounts;
pub use kernel_totals::KernelTotals;
pub use origin::Origin;
pub use store_shape::StoreShape;
pub use window::TableWindow;

use crate::eventfd::EventFd;
use pvir_abi::{DeviceFlags, Pair, Store, Stores};
use std::io;
use std::sync::Arc;

/// What a device supports. The service reads it once, when the device is added. The default is nothing, to which
/// [`with_msix`](Self::with_msix) and the others add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The store kinds that the service serves for the device.
    pub stores: Stores,
    /// What the device allows: `DIRECT`, `DYNAMIC`, `EMULATED` ([`DeviceFlags`]).
    pub flags: DeviceFlags,
    /// Number of entries of the MSI-X table, 0 to 2048.
    pub msix_entries: u32,
    /// Number of messages of the MSI capability, 0 to 32.
    pub msi_messages: u32,
    /// Number of IMS entries.
    pub ims_entries: u32,
}

impl Capabilities {
    /// With an MSI-X table of `entries` entries.
    #[must_use]
    pub fn with_msix(self, entries: u32) -> Self {
        Self { stores: self.stores | Stores::MSIX, msix_entries: entries, ..self }
    }

    /// With an MSI capability of `messages` messages.
    #[must_use]
    pub fn with_msi(self, messages: u32) -> Self {
        Self { stores: self.stores | Stores::MSI, msi_messages: messages, ..self }
    }

    /// With an IMS of `entries` entries.
    #[must_use]
    pub fn with_ims(self, entries: u32) -> Self {
        Self { stores: self.stores | Stores::IMS, ims_entries: entries, ..self }
    }

    /// With these [`flags`](Self::flags).
    #[must_use]
    pub fn with_flags(self, flags: DeviceFlags) -> Self {
        Self { flags, ..self }
    }

    /// Number of entries of `store`, or `None` if the device has no such store. An MSI capability is one entry,
    /// however many messages it has.
    #[must_use]
    #[inline]
    pub fn entries(&self, store: Store) -> Option<u32> {
        let (bit, entries) = match store {
            Store::MSI => (Stores::MSI, self.msi_messages.min(1)),
            Store::MSIX => (Stores::MSIX, self.msix_entries),
            Store::IMS => (Stores::IMS, self.ims_entries),
            _ => return None,
        };
        self.stores.contains(bit).then_some(entries)
    }
}

/// The host's counts of one started entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HostInterrupt {
    /// The store of the entry; where another entry's interrupt stands behind it ([`Device::backing`]), that entry's
    /// store.
    pub store: Store,
    /// The index of the entry in that store; for MSI, the number of the message.
    pub index: u32,
    /// Number of the host's Linux IRQ, or `None` if the host's kernel has none for the entry.
    pub irq: Option<u32>,
    /// Interrupts since the entry was started. `None` where the host continues an earlier count that was not read
    /// before.
    pub count: Option<u64>,
    /// All interrupts that the host has counted for the IRQ, those of earlier users of the IRQ included. The
    /// difference of two readings gives a rate.
    pub total: u64,
}

impl HostInterrupt {
    /// An entry for whose IRQ the host has counted `total` interrupts. It has no number of an IRQ and no count of its own
    /// yet.
    #[must_use]
    pub fn new(store: Store, index: u32, total: u64) -> Self {
        Self { store, index, irq: None, count: None, total }
    }

    /// With the number of the host's Linux IRQ.
    #[must_use]
    pub fn with_irq(self, irq: u32) -> Self {
        Self { irq: Some(irq), ..self }
    }

    /// With so many interrupts since the entry was started, where that is known.
    #[must_use]
    pub fn with_count(self, count: Option<u64>) -> Self {
        Self { count, ..self }
    }
}

/// Why the host's counts are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CountPurpose {
    /// For a report: nothing is recorded.
    Report,
    /// Entries are about to be stopped. The counts are the last ones of these entries, and are recorded: they are
    /// subtracted when the entries are started again.
    BeforeStop,
}

/// The host's counts of a device's started entries.
///
/// This is an object of its own beside the [`Device`], with its own lock. Reading `/proc/interrupts` takes the kernel
/// long, so the service reads the counts without holding the VM's lock.
pub trait HostCounts: Send + Sync {
    /// The counts of all started entries of the device. Entries whose counts cannot be read are left out.
    fn read(&self, kernel: &KernelCounts, purpose: CountPurpose) -> Vec<HostInterrupt>;

    /// All interrupts of the device that the host has counted, from any moment on: a number that only grows, also while
    /// entries are started and stopped. Its growth is the device's rate, by which the service finds a storm
    /// ([`StormWatch`](crate::service::StormWatch)), many times a second; so it must be cheap. `None` if it cannot be
    /// told: the device's storms are then not found.
    fn sum(&self, _kernel: &KernelTotals) -> Option<u64> {
        None
    }
}

/// A device of the VM, as the service calls it. Every call is made under the VM's lock.
///
/// A device is in one of two modes, which exclude each other:
///
/// - The guest programs it. The service calls [`open`](Self::open); for each entry [`start`](Self::start) once the
///   eventfd is attached to KVM, then [`pair`](Self::pair) and [`mask`](Self::mask); [`stop`](Self::stop) for each
///   entry; and [`close`](Self::close).
/// - The VMM emulates one of its stores. The service calls [`trap`](Self::trap), then `start` and `stop`, and at the
///   end [`untrap`](Self::untrap).
pub trait Device: Send {
    /// What the device supports.
    fn capabilities(&self) -> Capabilities;

    /// The device's name in log messages, for example its BDF on the host.
    fn name(&self) -> String;

    /// Checks that the remapping unit protects the host and all other devices from whatever the guest writes into the
    /// device.
    ///
    /// # Errors
    /// The first reason for which it does not.
    fn isolated(&self) -> Result<(), NotIsolated>;

    /// Masks every entry of the MSI-X table and maps the table into the guest.
    ///
    /// # Errors
    /// The errno of the operation that failed. The guest's accesses to the table are then still trapped.
    fn open(&mut self) -> io::Result<()>;

    /// Unmaps the table from the guest: its accesses are trapped again. Every entry has been stopped before.
    ///
    /// # Errors
    /// The errno of the operation that failed. The device is then to be regarded as lost.
    fn close(&mut self) -> io::Result<()>;

    /// The store that the VMM emulates while the guest does not program the device.
    fn shape(&self) -> StoreShape {
        StoreShape::of(&self.capabilities())
    }

    /// Prepares a store for being emulated. From then on its entries signal their eventfds regardless of their mask
    /// bits, because the VMM applies the guest's masks itself. A device is prepared for one store at a time.
    ///
    /// # Errors
    /// The errno of the operation that failed. The store is then not prepared.
    fn trap(&mut self, store: Store) -> io::Result<()>;

    /// Undoes [`trap`](Self::trap). Every entry has been stopped before.
    ///
    /// # Errors
    /// The errno of the operation that failed. The device is then to be regarded as lost.
    fn untrap(&mut self, store: Store) -> io::Result<()>;

    /// Whether the device itself holds a pending interrupt of an entry that is not started, in a store that
    /// [`trap`](Self::trap) has prepared. The device sends it when the entry is started.
    fn pending(&mut self, _store: Store, _index: u32) -> bool {
        false
    }

    /// The entry whose interrupt serves the entry `index` of `store`. This is the entry itself, except for an IMS
    /// entry that is made of one of the device's MSI-X entries.
    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        (store, index)
    }

    /// Starts the interrupts of the entries from `first` on, one for each eventfd: all of them, or none. An entry may
    /// be unmasked by it. For MSI, the eventfds are those of the messages of the store's one entry.
    ///
    /// # Errors
    /// The errno of the operation that failed, for VFIO of `VFIO_DEVICE_SET_IRQS`. No interrupt is then started.
    /// `ENOSPC` means that the host has no interrupt vector left.
    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()>;

    /// Stops the interrupts of `count` entries from `first` on; for MSI, of the `count` messages that were started.
    /// After it has returned, none of their eventfds is signalled, their pairs raise no interrupt, and the entries
    /// are masked.
    ///
    /// # Errors
    /// The errno of the operation that failed. Some of the interrupts may then still be started.
    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()>;

    /// Whether nobody but the caller of [`start`](Self::start) has the file of an eventfd when [`stop`](Self::stop) has
    /// returned. KVM then ends the irqfd when the caller closes the eventfd; otherwise only a de-assignment ends it. A
    /// device must not say so that has handed the eventfds to another process.
    fn releases_eventfds(&self) -> bool {
        false
    }

    /// The address/data pair of a started entry, as the hardware has it; for MSI, that of the first message.
    ///
    /// # Errors
    /// `InvalidData` if the pair was unstable or malformed, otherwise the errno of the read.
    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair>;

    /// Sets the mask bit of an entry. `true` means that the bit is in the entry's own store, and that the guest is
    /// expected to clear it there.
    ///
    /// # Errors
    /// The error of the access, or an error without errno if the device does not answer or the bit does not stay set.
    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool>;

    /// Masks every entry of the MSI-X table, started or not, after a reset of a device that is [open](Self::open). A
    /// device whose reset does that, of each entry, has nothing to do.
    ///
    /// # Errors
    /// As for [`mask`](Self::mask).
    fn mask_all(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether what the device holds inside goes into a snapshot of its VM. A device of which it does not is reset in the
    /// VM that goes on (`docs/abi.md`, S7).
    fn is_saved(&self) -> bool {
        self.capabilities().flags.contains(DeviceFlags::EMULATED)
    }

    /// Has a device that is not [saved](Self::is_saved) send nothing more and reach no memory, for a snapshot of its VM of
    /// which no vCPU runs. Answers with the entries of `store` that the device itself holds an interrupt for, which goes
    /// when the device does. [`wake`](Self::wake) lets it go on.
    ///
    /// # Errors
    /// The errno of the operation that failed. The device then goes on.
    fn suspend(&mut self, _store: Store) -> io::Result<Vec<u32>> {
        Ok(Vec::new())
    }

    /// Lets the device go on after [`suspend`](Self::suspend): what it held meanwhile is sent. Nothing happens to one that
    /// is not suspended.
    ///
    /// # Errors
    /// The errno of the operation that failed.
    fn wake(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Keeps a device that was cut off from sending anything and from reaching memory, whatever its guest has it do; or,
    /// with `false`, does so no longer. A device that sends nothing but by a unit in software needs no such thing.
    ///
    /// # Errors
    /// The errno of the operation that failed.
    fn hold_off(&mut self, _held: bool) -> io::Result<()> {
        Ok(())
    }

    /// The host's counts of the device's interrupts, or `None` if the host does not count them.
    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        None
    }
}
