//! The devices of a VM.

use super::vm::Attached;
use crate::device::Device;
use crate::line::DeviceSet;
use pvir_abi::DeviceId;
use std::cell::Cell;

/// The index of a device in [`Devices`].
#[derive(Clone, Copy, Debug)]
pub(super) struct DevicePlace(usize);

/// The devices, sorted by id. They are few, come and go seldom, and are looked up for each record.
#[derive(Default)]
pub(super) struct Devices {
    all: Vec<(DeviceId, Attached)>,
    /// Index of the device that was looked up last: nearly always the records of a call are of one device.
    last: Cell<usize>,
}

impl Devices {
    #[inline]
    fn place(&self, id: DeviceId) -> Result<usize, usize> {
        let last = self.last.get();
        if self.all.get(last).is_some_and(|(known, _)| *known == id) {
            return Ok(last);
        }
        let place = self.all.binary_search_by_key(&id, |(known, _)| *known)?;
        self.last.set(place);
        Ok(place)
    }

    /// The index of a device, valid until a device is added or removed.
    #[inline]
    pub(super) fn find(&self, id: DeviceId) -> Option<DevicePlace> {
        self.place(id).ok().map(DevicePlace)
    }

    #[inline]
    pub(super) fn at(&self, place: DevicePlace) -> &Attached {
        &self.all[place.0].1
    }

    #[inline]
    pub(super) fn at_mut(&mut self, place: DevicePlace) -> &mut Attached {
        &mut self.all[place.0].1
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
            self.all.insert(place, (id, attached));
        }
        free.is_some()
    }

    /// Takes a device out.
    pub(super) fn remove(&mut self, id: DeviceId) -> Option<Attached> {
        let place = self.place(id).ok()?;
        Some(self.all.remove(place).1)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&DeviceId, &Attached)> {
        self.all.iter().map(|(id, attached)| (id, attached))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attached> {
        self.all.iter_mut().map(|(_, attached)| attached)
    }

    /// The same with their ids.
    pub(super) fn iter_mut_by_id(&mut self) -> impl Iterator<Item = (DeviceId, &mut Attached)> {
        self.all.iter_mut().map(|(id, attached)| (*id, attached))
    }
}

impl DeviceSet for Devices {
    fn device(&mut self, id: DeviceId) -> Option<&mut dyn Device> {
        self.get_mut(&id).map(|attached| &mut *attached.device as &mut dyn Device)
    }
}
