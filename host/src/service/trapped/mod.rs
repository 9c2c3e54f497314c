//! Stores that are emulated while their device is not the guest's to program.
//!
//! The emulated registers stand here, under the VM's lock, and not with whoever traps the accesses: ENABLE, DISABLE and
//! the accesses of other vCPUs must see one order, and an ENABLE that fails must find everything as it was.
//!
//! A message that is used has a [`Line`]: the device's interrupt is started and signals an eventfd. Sent, the eventfd is
//! attached to a GSI that has the guest's message as its route; masked, it is detached, and its count is the pending bit.

mod follow;
mod handover;
mod line;

use super::Service;
use super::live::TrappedRecord;
use super::vm::Attached;
use crate::device::Device;
use crate::irte::Origin;
use crate::kvm::{GsiPool, RouteTable};
use crate::log_limit::LogLimit;
use crate::trapped::{EmulatedStore, StoreArea};
use line::Line;
use pvir_abi::DeviceId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;

/// Who serves an access to a message store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ServedBy {
    /// The emulation: it is done.
    Emulation,
    /// The device: its store is the guest's own. The access is here only because it exited, and is to reach the device.
    Device,
}

/// The emulated store of one device, and what it holds.
#[derive(Debug)]
pub(super) struct Trapped {
    emulation: EmulatedStore,
    /// Messages that are in use.
    lines: BTreeMap<u32, Line>,
    /// Those with which something failed, to be tried again.
    unfinished: BTreeSet<u32>,
    /// What would not come off of messages that are in use no more.
    remains: Vec<(u32, Line)>,
    /// Whether the device is prepared for it ([`Device::trap`]).
    prepared: bool,
}

impl Trapped {
    /// As after a reset of the device; `None` where there is nothing to emulate.
    pub(super) fn of(device: &dyn Device) -> Option<Self> {
        let emulation = EmulatedStore::new(device.shape())?;
        let (lines, unfinished, remains) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Some(Self { emulation, lines, unfinished, remains, prepared: false })
    }

    /// The messages in use, without what the host counted.
    pub(super) fn infos(&self, device: DeviceId) -> Vec<TrappedRecord> {
        let store = self.emulation.store();
        let info = |(&index, line): (&u32, &Line)| TrappedRecord {
            origin: Origin { device, store, index },
            eventfd: line.eventfd.as_raw_fd(),
            gsi: line.gsi,
            message: line.message.filter(|_| line.held.irqfd),
            host: None,
        };
        self.lines.iter().map(info).collect()
    }
}

/// What the lines of a device are made with.
struct Ground<'a> {
    id: DeviceId,
    device: &'a mut dyn Device,
    routes: &'a mut RouteTable,
    gsis: &'a mut GsiPool,
    log: &'a LogLimit,
}

impl Ground<'_> {
    /// Logs a failure under the bound: a guest's access to its registers has no status.
    fn failed(&self, what: &str, index: u32, error: &dyn std::fmt::Display) {
        let Self { id, device, log, .. } = self;
        log.warn(|| format!("{what} of trapped message {index} of {id} ({}) failed: {error}", device.name()));
    }
}

/// Stores that the VMM emulates by trapping: accesses of the guest come here until it enables pvir, and for devices whose
/// stores it did not take.
impl Service {
    /// Serves a read of a device's MSI-X table, pending bits, or MSI or MSI-X capability. In the capability, bytes that
    /// are none of its registers are left alone.
    ///
    /// # Errors
    /// `NotFound` if the device is not there or has no such store; `data` is then as it was.
    pub fn trapped_read(
        &self,
        id: DeviceId,
        place: StoreArea,
        offset: u64,
        data: &mut [u8],
    ) -> io::Result<ServedBy> {
        let mut vm = self.lock();
        let Attached { device, trapped, open, .. } =
            vm.devices.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let Trapped { emulation, lines, .. } = trapped.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if *open && emulation.is_of_device(place, offset) {
            return Ok(ServedBy::Device);
        }
        let store = emulation.store();
        emulation.read(place, offset, data, |index| {
            match lines.get(&index).filter(|line| line.is_started()) {
                Some(line) => line.is_pending(),
                None => device.pending(store, index),
            }
        });
        Ok(ServedBy::Emulation)
    }

    /// Serves a write likewise. When it returns, what it says has come about: a message that it masked is not sent any
    /// more, one that it unmasked has been sent if it was pending.
    ///
    /// Where the host fails, the message stays silent until the next access to the device's store; that is logged.
    ///
    /// # Errors
    /// `NotFound` if the device is not there or has no such store.
    pub fn trapped_write(
        &self,
        id: DeviceId,
        place: StoreArea,
        offset: u64,
        data: &[u8],
    ) -> io::Result<ServedBy> {
        let mut vm = self.lock();
        let attached = vm.devices.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let open = attached.open;
        let Trapped { emulation, .. } = attached.trapped.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if open && emulation.is_of_device(place, offset) {
            return Ok(ServedBy::Device);
        }
        let touched = emulation.write(place, offset, data);
        if !open {
            vm.follow(id, touched);
        }
        Ok(ServedBy::Emulation)
    }
}
