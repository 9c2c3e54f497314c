//! The seam between the service and a device: whatever raises interrupts into eventfds, and knows its pairs.

mod kernel_counts;
mod origin;
mod store_shape;
mod window;

pub use crate::isolation::NotIsolated;
pub use kernel_counts::KernelCounts;
pub use origin::Origin;
pub use store_shape::StoreShape;
pub use window::TableWindow;

use pvir_abi::{DeviceFlags, Pair, Store, Stores};
use std::io;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// What a device can do. Constant while it is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Store kinds served.
    pub stores: Stores,
    /// DIRECT, DYNAMIC, EMULATED.
    pub flags: DeviceFlags,
    /// Entries of the MSI-X table.
    pub msix_entries: u32,
    /// Messages of the MSI capability.
    pub msi_messages: u32,
    /// IMS entries.
    pub ims_entries: u32,
}

impl Capabilities {
    /// Number of entries of `store`, or `None` if the device has no such store. The MSI capability is one entry, however
    /// many messages it has.
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

/// What the host knows of a started entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostInterrupt {
    /// The store; of an entry with a backing, the backing's.
    pub store: Store,
    /// The index in that store, or the number of the message.
    pub index: u32,
    /// Number of the host IRQ, if the host's kernel has one for it.
    pub irq: Option<u32>,
    /// Interrupts since the entry was started; not known where the host goes on with an earlier count, and nobody read
    /// how far that was.
    pub count: Option<u64>,
    /// All that the host has counted, those of earlier holders of the interrupt too: two of these make a rate.
    pub total: u64,
}

/// What a reading of the host's counts is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountPurpose {
    /// Somebody looks.
    Report,
    /// Entries are about to be stopped: what they have now is what they had at their end, and what is to be subtracted
    /// when they are started again.
    BeforeStop,
}

/// What the host counts for a device's entries that are started.
///
/// It stands beside its device, with a lock of its own, because the kernel takes long to write `/proc/interrupts`: it is
/// read without the VM's lock.
pub trait HostCounts: Send + Sync {
    /// All of them; nothing of what cannot be read.
    fn read(&self, kernel: &KernelCounts, purpose: CountPurpose) -> Vec<HostInterrupt>;
}

/// A device of the VM. Every call comes under the VM's lock.
///
/// The guest programs it: [`open`](Self::open); for each entry [`start`](Self::start) once its eventfd is attached to
/// KVM, then [`pair`](Self::pair) and [`mask`](Self::mask); [`stop`](Self::stop); [`close`](Self::close).
///
/// The VMM emulates its stores: [`trap`](Self::trap), then `start` and `stop`, then [`untrap`](Self::untrap). The two
/// exclude each other.
pub trait Device: Send {
    /// What the device can do.
    fn capabilities(&self) -> Capabilities;

    /// How the host's user knows the device, for messages: a BDF of the host, for example.
    fn name(&self) -> String;

    /// Whether the remapping unit protects everybody else from what the guest writes into the device.
    ///
    /// # Errors
    /// The first reason why not.
    fn isolated(&self) -> Result<(), NotIsolated>;

    /// Masks every entry of the table and hands it to the guest.
    ///
    /// # Errors
    /// As the kernel gave it; the table is then still trapped.
    fn open(&mut self) -> io::Result<()>;

    /// Takes the table back: the guest's accesses are trapped again. Every entry has been stopped before.
    ///
    /// # Errors
    /// As the kernel gave it; the device is then to be regarded as lost.
    fn close(&mut self) -> io::Result<()>;

    /// Which store of it the VMM emulates while it is not the guest's.
    fn shape(&self) -> StoreShape {
        StoreShape::of(&self.capabilities())
    }

    /// Prepares a store for being emulated: its entries signal their eventfds however they are masked, and the VMM masks
    /// by itself. A device is prepared for one store at a time.
    ///
    /// # Errors
    /// As the kernel gave it; nothing is then prepared.
    fn trap(&mut self, store: Store) -> io::Result<()>;

    /// Ends that. Every entry has been stopped before.
    ///
    /// # Errors
    /// As the kernel gave it; the device is then to be regarded as lost.
    fn untrap(&mut self, store: Store) -> io::Result<()>;

    /// Whether the device itself holds an interrupt of an entry that is not started, of a store that it is prepared for:
    /// it sends it when the entry is started.
    fn pending(&mut self, _store: Store, _index: u32) -> bool {
        false
    }

    /// The entry whose interrupt stands behind an entry: another one for IMS that is made of the device's MSI-X.
    fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        (store, index)
    }

    /// Starts the interrupts of the entries from `first` on, one for each eventfd, all or none. The entries may be
    /// unmasked by it. With MSI the eventfds are those of the messages of its one entry.
    ///
    /// # Errors
    /// As the kernel gave it; nothing is then started. `ENOSPC` means that the host has no vector left.
    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()>;

    /// Stops the interrupts of `count` entries from `first` on, with MSI of the `count` messages that were started. When
    /// it returns none of their eventfds is signalled any more, their pairs are dead and they are masked.
    ///
    /// # Errors
    /// As the kernel gave it; some may then still be started.
    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()>;

    /// The pair of a started entry, as the hardware has it; with MSI that of the first message.
    ///
    /// # Errors
    /// `InvalidData` if it was unstable or malformed; otherwise as the kernel gave it.
    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair>;

    /// Sets the mask bit that the host has for the entry. Answers whether it is one of the entry's own store, which the
    /// guest is to clear.
    ///
    /// # Errors
    /// As the kernel gave it, or if the bit does not read back.
    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool>;

    /// What the host counts of the entries that are started, for reports: nothing where it does not count.
    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        None
    }
}
