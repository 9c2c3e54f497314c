//! Emulated stores of devices that the guest does not program: the registers, and the lines of their messages.
//!
//! The registers are kept here, under the VM's lock, and not by the VMM that traps the accesses. ENABLE, DISABLE and
//! the accesses of other vCPUs must see one order, and an ENABLE that fails must leave everything as it was.
//!
//! A message that is used has a [`Line`]: the device's interrupt is started and signals the line's eventfd. While the
//! message is enabled and unmasked, the eventfd is attached to a GSI that has the guest's message as its route. While
//! it is masked, the eventfd is detached, and its counter is the pending bit.

mod context;
mod handover;
mod held;
mod reconcile;
mod saved;

use super::Service;
use super::live::TrappedRecord;
use super::vm::{Attached, Vm};
use crate::device::{Device, Origin};
use crate::line::{EntryLines, Line, LineTable};
use crate::trapped::{EmulatedStore, StoreArea};
use crate::work::Cost;
use context::LineContext;
use pvir_abi::{DeviceId, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::MutexGuard;

/// What has served a guest's access to a message store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ServedBy {
    /// The emulation.
    Emulation,
    /// The device, because its store is the guest's own: the access that the caller passed was made.
    Device,
}

/// The emulated store of one device, and the lines of its messages.
#[derive(Debug)]
pub(super) struct Trapped {
    registers: EmulatedStore,
    /// The entries that are in use: for MSI-X one for each message, for MSI one for all messages.
    entries: BTreeMap<u32, EntryLines>,
    /// Messages that raise no interrupt at the moment. Their interrupts are lost.
    void: BTreeSet<u32>,
    /// Messages for which a step failed.
    unfinished: BTreeSet<u32>,
    /// The value of [`LineTable::freed`] when these were last tried.
    freed: u64,
    /// The first of these whose turn it is to be tried again.
    next_retry: u32,
    /// Whether the device is prepared for being emulated ([`Device::trap`]).
    prepared: bool,
    /// Messages for which an interrupt is held, and which have no line yet that could hold it.
    held: BTreeSet<u32>,
    /// Whether nothing is sent, whatever the registers say, because the host has cut the device off.
    held_off: bool,
}

impl Trapped {
    /// The store of `shape` after a reset of the device; `None` if there is nothing to emulate.
    pub(super) fn of(device: &dyn Device) -> Option<Self> {
        Some(Self {
            registers: EmulatedStore::new(device.shape())?,
            entries: BTreeMap::new(),
            void: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            freed: 0,
            next_retry: 0,
            prepared: false,
            held: BTreeSet::new(),
            held_off: false,
        })
    }

    /// The line of a message that is in use.
    fn line(&self, message: u32) -> Option<&Line> {
        let (index, place) = if self.registers.store() == Store::MSI { (0, message) } else { (message, 0) };
        self.entries.get(&index)?.lines.get(place as usize)
    }

    /// Whether interrupts of messages may be started.
    pub(super) fn is_in_use(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The messages in use, without what the host counted.
    pub(super) fn infos(&self, lines: &LineTable) -> Vec<TrappedRecord> {
        let of_entry = |(&index, entry): (&u32, &EntryLines)| {
            let info = |(index, line): (u32, &Line)| TrappedRecord {
                origin: Origin { index, ..entry.origin },
                eventfd: line.eventfd().as_raw_fd(),
                gsi: line.gsi(),
                message: lines.message(line).filter(|_| line.is_attached()),
                host: None,
            };
            (index..).zip(entry.lines.iter()).map(info).collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(of_entry).collect()
    }
}

impl Vm {
    /// The emulated store of a device, and what its lines are made with.
    fn trapped_of(&mut self, id: DeviceId) -> Option<(&mut Trapped, LineContext<'_>)> {
        let Self { devices, lines, log, .. } = self;
        let Attached { device, trapped, .. } = devices.get_mut(&id)?;
        Some((trapped.as_mut()?, LineContext { id, device: &mut **device, lines, log }))
    }
}

impl Vm {
    fn trapped_read(
        &mut self,
        id: DeviceId,
        area: StoreArea,
        offset: u64,
        data: &mut [u8],
        access: impl FnOnce(&mut [u8]),
    ) -> io::Result<ServedBy> {
        let Self { devices, lines, .. } = self;
        let Attached { device, trapped, open, .. } = devices.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let trapped = trapped.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let Trapped { registers, void, held, .. } = trapped;
        lines.work().add(Cost::ACCESS);
        if *open && registers.is_of_device(area, offset) {
            access(data);
            return Ok(ServedBy::Device);
        }
        let store = registers.store();
        registers.read(area, offset, data, |message| {
            lines.work().add(Cost::POLL);
            match trapped.line(message).filter(|line| line.is_started()) {
                Some(line) => !void.contains(&message) && line.holds_interrupt(),
                None => held.contains(&message) || device.pending(store, message),
            }
        });
        Ok(ServedBy::Emulation)
    }

    fn trapped_write(
        &mut self,
        id: DeviceId,
        area: StoreArea,
        offset: u64,
        data: &[u8],
        access: impl FnOnce(&[u8]),
    ) -> io::Result<ServedBy> {
        let Self { devices, lines, log, .. } = self;
        let Attached { device, trapped, open, .. } = devices.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let trapped = trapped.as_mut().ok_or(io::ErrorKind::NotFound)?;
        lines.work().add(Cost::ACCESS);
        if *open && trapped.registers.is_of_device(area, offset) {
            access(data);
            return Ok(ServedBy::Device);
        }
        let changed = trapped.registers.write(area, offset, data);
        if !*open {
            trapped.reconcile(&mut LineContext { id, device: &mut **device, lines, log }, changed);
        }
        Ok(ServedBy::Emulation)
    }
}

/// Stores that the VMM emulates by trapping: accesses of the guest come here until it enables pvir, and for devices whose
/// stores it did not take.
impl Service {
    /// Serves a guest's read of the MSI-X table, pending bits, or MSI or MSI-X capability of the device `id`. Bytes of
    /// `data` that are in the capability but in none of its registers keep their values.
    ///
    /// `access` reads the device itself. It is called, once and with all of `data`, only if the store is the guest's
    /// own, and under the VM's lock: DISABLE does not return before it has (T4). It must not call this service.
    ///
    /// # Errors
    /// `NotFound` if the VM does not have the device or the device has no such store. `data` then keeps its values.
    pub fn trapped_read(
        &self,
        id: DeviceId,
        area: StoreArea,
        offset: u64,
        data: &mut [u8],
        access: impl FnOnce(&mut [u8]),
    ) -> io::Result<ServedBy> {
        let mut vm = self.lock();
        let served_by = vm.trapped_read(id, area, offset, data, access)?;
        self.end_access(vm);
        Ok(served_by)
    }

    /// Charges an access, and lets go of the lock before the vCPU waits.
    fn end_access(&self, mut vm: MutexGuard<'_, Vm>) {
        let delay = self.charge(&mut vm);
        let has_started = vm.lines.has_started();
        drop(vm);
        if has_started {
            self.storm_bell.ring();
        }
        self.delay(delay);
    }

    /// Serves a guest's write to a device's MSI-X table, pending bits, or MSI or MSI-X capability. Its effect has
    /// happened when it returns: a message that it has masked is not sent any more, and a message that it has
    /// unmasked has been sent if it was pending.
    ///
    /// `access` writes to the device itself. It is called, once and with all of `data`, only if the store is the guest's
    /// own, and under the VM's lock: after DISABLE has returned to one vCPU, no write that another vCPU began before
    /// reaches the device (T4). It must not call this service.
    ///
    /// If the host fails, the message stays silent and the failure is logged. It is tried again when the message is
    /// accessed again, or when the store is accessed after the kernel has had something given back.
    ///
    /// # Errors
    /// `NotFound` if the VM does not have the device or the device has no such store.
    pub fn trapped_write(
        &self,
        id: DeviceId,
        area: StoreArea,
        offset: u64,
        data: &[u8],
        access: impl FnOnce(&[u8]),
    ) -> io::Result<ServedBy> {
        let mut vm = self.lock();
        let served_by = vm.trapped_write(id, area, offset, data, access)?;
        self.end_access(vm);
        Ok(served_by)
    }
}
