//! Sending: what becomes of an interrupt that was raised, and what is held until its entry is unmasked.

use super::DeviceModel;
use crate::counts::InterruptCounters;
use crate::state::{DeviceState, StoreOwner};
use pvir_abi::{GuestPhysAddr, Store};
use pvir_host::eventfd::EventFd;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes of a sequence number.
const SEQUENCE: u64 = 8;

/// What became of an attempt to send.
enum Sent {
    Through,
    Blocked,
    Held,
}

impl DeviceModel {
    /// Writes a sequence number by DMA, before the interrupt that it is for.
    pub(crate) fn write_sequence(&self, state: &DeviceState, number: u32, sequence: u64) {
        let base = state.sequences;
        if base == 0 {
            return;
        }
        let at = base.checked_add(u64::from(number) * SEQUENCE).filter(|at| at % SEQUENCE == 0);
        let written = at
            .filter(|_| state.bus_master)
            .is_some_and(|at| self.ram.write(GuestPhysAddr(at), &sequence.to_le_bytes()).is_ok());
        // What was written is seen before the interrupt.
        fence(Ordering::Release);
        if !written {
            self.dma_faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn send(&self, state: &mut DeviceState, number: u32, (store, index): (Store, u32)) {
        let result = if state.is_trapped(store) {
            // The VMM masks; what is not started is held until it is. MSI is started as far as there are messages.
            let message = if store == Store::MSI { state.msi.message(index) } else { index };
            match state.unit.eventfd(store, message) {
                _ if !state.bus_master => Sent::Blocked,
                None => Sent::Held,
                started => Self::signal(started),
            }
        } else if state.owner == StoreOwner::Nobody {
            // Nobody has enabled the store: there is nobody to hold it for.
            Sent::Blocked
        } else {
            match state.entry(self.table.as_ref(), &*self.ram, store, index) {
                Some(entry) if entry.masked => Sent::Held,
                Some(entry) => Self::signal(state.remap(entry.message)),
                None => Sent::Blocked,
            }
        };
        match result {
            Sent::Through => {
                if store == Store::IMS {
                    // Nobody has rung for what was held before: it goes with this one.
                    state.ims.take(index);
                }
                self.count(number, |counters| &counters.sent)
            }
            Sent::Blocked => self.count(number, |counters| &counters.blocked),
            Sent::Held => {
                self.hold(state, store, index);
                self.count(number, |counters| &counters.held)
            }
        };
    }

    fn signal(eventfd: Option<&EventFd>) -> Sent {
        match eventfd.map(|eventfd| eventfd.write(1)) {
            Some(Ok(())) => Sent::Through,
            // A full eventfd has the interrupt in it already.
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Sent::Through,
            Some(Err(_)) | None => Sent::Blocked,
        }
    }

    fn hold(&self, state: &mut DeviceState, store: Store, index: u32) {
        if let (Some(table), Store::MSIX) = (&self.table, store) {
            // The entry exists: it was read a moment ago.
            let _ = table.set_pending(index, true);
            if !state.is_trapped(store) {
                self.pending.add(index);
            }
        } else if store == Store::IMS {
            state.ims.hold(index);
        } else {
            state.msi.hold(index);
        }
    }

    /// Whether something is held for an entry.
    pub(crate) fn is_pending(&self, state: &DeviceState, store: Store, index: u32) -> bool {
        match (&self.table, store) {
            (Some(table), Store::MSIX) => table.is_pending(index).unwrap_or(false),
            (None, Store::MSI) => index < 32 && state.msi.pending() >> index & 1 != 0,
            _ => false,
        }
    }

    /// Forgets what is held for an entry; answers whether something was.
    pub(crate) fn forget(&self, state: &mut DeviceState, store: Store, index: u32) -> bool {
        if let (Some(table), Store::MSIX) = (&self.table, store) {
            let shown = table.is_pending(index).unwrap_or(false);
            let _ = table.set_pending(index, false);
            self.pending.take(index) || shown
        } else if store == Store::IMS {
            state.ims.take(index)
        } else {
            state.msi.take(index)
        }
    }

    /// InterruptCounts one more; answers how many there are now.
    pub(crate) fn count(&self, number: u32, which: impl FnOnce(&InterruptCounters) -> &AtomicU64) -> u64 {
        let add = |counters| which(counters).fetch_add(1, Ordering::Relaxed) + 1;
        self.counters.get(number as usize).map_or(0, add)
    }

    /// Sends what is held for an entry.
    pub(crate) fn send_held(&self, state: &mut DeviceState, store: Store, index: u32) {
        if let (Some(number), true) = (self.layout.number(store, index), self.forget(state, store, index)) {
            self.send(state, number, (store, index));
        }
    }

    /// Sends what was held for entries of the table that are unmasked now; answers whether there was one.
    pub(crate) fn send_pending(&self) -> bool {
        let Some(table) = &self.table else { return false };
        let mut sent = false;
        for index in self.pending.all() {
            let mut state = self.state();
            if state.paused {
                return sent;
            }
            let unmasked = table.is_masked(index).is_ok_and(|masked| !masked);
            if unmasked && self.forget(&mut state, Store::MSIX, index) {
                self.send(&mut state, index, (Store::MSIX, index));
                sent = true;
            }
        }
        sent
    }
}
