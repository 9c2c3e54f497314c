//! The devices of a VM.

use super::vm::Attached;
use pvir_abi::DeviceId;

/// Where a device stands in [`Devices`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

/// By id, in its order. Few, fixed before the guest runs, and looked up for each record.
#[derive(Default)]
pub(super) struct Devices(Vec<(DeviceId, Attached)>);

impl Devices {
    fn place(&self, id: DeviceId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(known, _)| *known)
    }

    /// Where a device stands. None ever leaves, so its place is good until another one comes.
    pub(super) fn find(&self, id: DeviceId) -> Option<Place> {
        self.place(id).ok().map(Place)
    }

    pub(super) fn at(&self, place: Place) -> &Attached {
        &self.0[place.0].1
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut Attached {
        &mut self.0[place.0].1
    }

    pub(super) fn get(&self, id: &DeviceId) -> Option<&Attached> {
        self.find(*id).map(|place| self.at(place))
    }

    pub(super) fn get_mut(&mut self, id: &DeviceId) -> Option<&mut Attached> {
        let place = self.find(*id)?;
        Some(self.at_mut(place))
    }

    /// Puts `attached` in. Answers `false`, and drops it, if there is one of that id.
    #[must_use]
    pub(super) fn insert(&mut self, id: DeviceId, attached: Attached) -> bool {
        let free = self.place(id).err();
        if let Some(place) = free {
            self.0.insert(place, (id, attached));
        }
        free.is_some()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&DeviceId, &Attached)> {
        self.0.iter().map(|(id, attached)| (id, attached))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
