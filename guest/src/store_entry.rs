//! The seam to a store: where a device keeps its messages. MSI-X, MSI and slots in memory are in this crate; for any
//! other place a driver implements [`StoreEntry`].

use crate::Origin;
use pvir_abi::Pair;

/// The mask bit of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// The entry is masked: the device holds what it raises as pending.
    Set,
    /// The entry is not masked: the device sends its message.
    Clear,
}

/// Access to one entry of a device's store, owned: nobody else writes the entry. [`Entry`](crate::Entry) calls it in
/// the right order:
///
/// 1. [`StoreEntry::set_mask`] with [`Mask::Set`] before anything else, then [`StoreEntry::mask`] to see that it is,
/// 2. [`StoreEntry::write`] while masked, then [`StoreEntry::read`] to compare,
/// 3. [`StoreEntry::set_mask`] with [`Mask::Clear`].
///
/// A device without masks (IMS may be one) answers `None` to [`StoreEntry::mask`] and ignores
/// [`StoreEntry::set_mask`]; its driver sees to it that the device does not send while the pair is written, nor after
/// the entry was retired.
///
/// # A store of a driver's own
///
/// A NIC writes a message of its choice when a queue has work done, and has a register for the address of that
/// message and one for its data beside the queue's others. No mask: a queue that is stopped does not send.
///
/// ```
/// # #[cfg(feature = "fake")]
/// # use pvir_guest::fake::{FakeDevice, FakeHost};
/// use pvir_guest::abi::{Bdf, DeviceId, Features, Pair};
/// use pvir_guest::{Entry, Mask, Origin, Pvir, MapRequest, StoreEntry, StoreError, Target, EnableOptions};
/// use std::cell::Cell;
///
/// /// The registers of a queue. In a driver they are volatile pointers.
/// #[derive(Default)]
/// struct Queue {
///     running: Cell<bool>,
///     address: Cell<u64>,
///     data: Cell<u32>,
/// }
///
/// /// The message of a queue, as a store. Whoever has it has the right to these two registers.
/// struct Message<'d> {
///     queue: &'d Queue,
///     origin: Origin,
/// }
///
/// impl StoreEntry for Message<'_> {
///     fn origin(&self) -> Origin {
///         self.origin
///     }
///
///     fn write(&mut self, pair: Pair) {
///         self.queue.running.set(false);
///         self.queue.address.set(pair.address);
///         self.queue.data.set(pair.data);
///     }
///
///     fn read(&self) -> Pair {
///         Pair { address: self.queue.address.get(), data: self.queue.data.get() }
///     }
///
///     fn set_mask(&self, _mask: Mask) {}
///
///     fn mask(&self) -> Option<Mask> {
///         None
///     }
///
///     fn is_pending(&self) -> Option<bool> {
///         None
///     }
/// }
///
/// # #[cfg(not(feature = "fake"))]
/// # fn main() {}
/// # #[cfg(feature = "fake")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let nic = DeviceId::new(0, Bdf::new(0, 1, 0).ok_or("bdf")?);
/// # let host = FakeHost::new(&[FakeDevice::new(nic, 10)]);
/// # let pvir = Pvir::negotiate(&host.discovered(), host.clone(), host.block(512))?;
/// let remapping = pvir.enable(EnableOptions::new(Features::MSIX | Features::IMS))?;
/// let queue = Queue::default();
///
/// // Entry 0 of the device's IMS entries: any number will do that is not mapped. Its handler is in place.
/// let origin = Origin::ims(nic, 0);
/// let irte = remapping.map(MapRequest::new(origin, Target::fixed(0, 0x60)))?;
/// let pair = irte.pair();
/// let entry = Entry::claim(Message { queue: &queue, origin })?;
/// let mut live = entry.program(irte).map_err(StoreError::from)?.unmask();
/// queue.running.set(true);
/// assert_eq!((queue.address.get(), queue.data.get()), (pair.address, pair.data));
///
/// // Moved like any other: the queue runs on and nothing of it is touched.
/// remapping.retarget(&mut live, Target::fixed(1, 0x61))?;
/// assert!(queue.running.get());
///
/// // Without a mask it is for the driver to stop the queue before the pair is given back.
/// queue.running.set(false);
/// let (_entry, irte) = live.mask().map_err(StoreError::from)?.retire();
/// remapping.unmap(irte)?;
/// # assert_eq!(host.held(), 0);
/// # Ok(())
/// # }
/// ```
pub trait StoreEntry {
    /// The device, the store and the index of this entry.
    fn origin(&self) -> Origin;

    /// Writes the pair into the entry. It is called only while the entry is masked, where the store can mask.
    fn write(&mut self, pair: Pair);

    /// Reads the pair of the entry back from the device.
    fn read(&self) -> Pair;

    /// Sets or clears the mask of the entry. Nothing need be read back: where that matters, [`StoreEntry::mask`] is
    /// called next.
    ///
    /// It is called for [`Entry::mask_in_place`](crate::Entry::mask_in_place) too, which a kernel may do in an
    /// interrupt handler, on another CPU, and while a call of the same entry's owner is interrupted. So it takes no lock
    /// that any of them can hold, and when two calls meet, one of the two masks is what comes of it.
    fn set_mask(&self, mask: Mask);

    /// The mask of the entry, read from the device: on PCI that pushes out what the device had sent before. `None` if
    /// the store cannot mask.
    fn mask(&self) -> Option<Mask>;

    /// Whether the device holds an interrupt of the entry as pending. `None` if the store does not tell.
    fn is_pending(&self) -> Option<bool>;
}
