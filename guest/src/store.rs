//! The store: where a device keeps its messages. MSI-X and MSI are here; IMS is whatever a driver makes of it.

use crate::Origin;
use pvir_abi::Pair;

/// A mask bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// The device holds what it raises as pending.
    Set,
    /// The device sends.
    Clear,
}

/// One entry of a device's store, owned. [`Entry`](crate::Entry) drives it in the right order:
///
/// 1. [`Store::set_mask`] with [`Mask::Set`] before anything else,
/// 2. [`Store::write`] while masked, then [`Store::read`] to compare,
/// 3. [`Store::set_mask`] with [`Mask::Clear`].
///
/// A device without masks (IMS may be one) answers `None` to [`Store::mask`] and ignores [`Store::set_mask`]; its
/// driver sees to it that the device does not send while the pair is written.
pub trait Store {
    /// Which entry this is.
    fn origin(&self) -> Origin;

    /// Writes the pair. Called only while masked, where the store can mask.
    fn write(&mut self, pair: Pair);

    /// Reads the pair back from the device.
    fn read(&self) -> Pair;

    /// Sets or clears the mask, and reads it back so that the write has reached the device.
    fn set_mask(&mut self, mask: Mask);

    /// The mask as the device has it, or `None` if it has none.
    fn mask(&self) -> Option<Mask>;

    /// Whether the device has raised something that is still held, or `None` if that cannot be known.
    fn is_pending(&self) -> Option<bool>;
}
