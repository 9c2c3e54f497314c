//! The device itself: raises vectors through its table and its remapping unit, and counts what became of them.

use super::pending::Pending;
use super::table::SharedTable;
use super::unit::{Fault, Unit};
use pvir_abi::Pair;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// What became of the interrupts of a vector, or of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages that the remapping unit let through.
    pub sent: u64,
    /// Messages that it blocked.
    pub blocked: u64,
    /// Interrupts that were held because the entry was masked.
    pub held: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    blocked: AtomicU64,
    held: AtomicU64,
}

impl Counters {
    fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { sent: read(&self.sent), blocked: read(&self.blocked), held: read(&self.held) }
    }
}

/// An emulated device, shared by its registers, its service side and its pending-bit thread.
#[derive(Debug)]
pub struct Core {
    table: SharedTable,
    /// Whether the guest enabled pvir: until then nothing is remapped and every message is blocked.
    open: AtomicBool,
    /// Whether the VMM emulates the table: raised is then what is started, whatever the table says.
    trapped: AtomicBool,
    unit: Mutex<Unit>,
    pending: Pending,
    counters: Vec<Counters>,
}

impl Core {
    /// A device with an MSI-X entry for each of `handles`, which no other device of the VM may have.
    ///
    /// # Errors
    /// If memory or the thread cannot be had.
    pub fn new(handles: Range<u32>) -> io::Result<Arc<Self>> {
        let vectors = handles.end.saturating_sub(handles.start);
        let core = Arc::new(Self {
            table: SharedTable::new(vectors)?,
            open: AtomicBool::new(false),
            trapped: AtomicBool::new(false),
            unit: Mutex::new(Unit::new(handles)),
            pending: Pending::default(),
            counters: (0..vectors).map(|_| Counters::default()).collect(),
        });
        Pending::watch(&core)?;
        Ok(core)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &SharedTable {
        &self.table
    }

    /// What became of a vector's interrupts; zero for one that does not exist.
    #[must_use]
    pub fn counts(&self, vector: u32) -> Counts {
        self.counters.get(vector as usize).map(Counters::read).unwrap_or_default()
    }

    /// Raises a vector once, as hardware does: held while the entry is masked, otherwise the message that stands in
    /// the entry is sent, whatever it says. A vector that does not exist is ignored.
    pub fn raise(&self, vector: u32) {
        let unit = self.unit();
        let Ok(entry) = self.table.entry(vector) else { return };
        if self.trapped.load(Ordering::SeqCst) {
            return self.raise_trapped(&unit, vector);
        }
        if entry.masked {
            self.count(vector, |counters| &counters.held);
            self.hold(vector);
        } else {
            self.send(&unit, vector, entry.message);
        }
    }

    /// What is not started is held until it is.
    fn raise_trapped(&self, unit: &Unit, vector: u32) {
        match unit.eventfd(vector) {
            Some(eventfd) => {
                // A full eventfd has the interrupt in it already.
                let _ = eventfd.write(1);
                self.count(vector, |counters| &counters.sent);
            }
            None => {
                self.count(vector, |counters| &counters.held);
                let _ = self.table.set_pending(vector, true);
            }
        }
    }

    fn hold(&self, vector: u32) {
        // The entry exists: it was read a moment ago.
        let _ = self.table.set_pending(vector, true);
        self.pending.add(vector);
    }

    fn send(&self, unit: &Unit, vector: u32, message: Pair) {
        let remapped =
            if self.open.load(Ordering::SeqCst) { unit.remap(message) } else { Err(Fault::NotPresent) };
        match remapped.map(|eventfd| eventfd.write(1)) {
            Ok(Ok(())) => self.count(vector, |counters| &counters.sent),
            // A full eventfd has the interrupt in it already.
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.count(vector, |counters| &counters.sent);
            }
            Ok(Err(_)) | Err(_) => self.count(vector, |counters| &counters.blocked),
        }
    }

    fn count(&self, vector: u32, which: impl FnOnce(&Counters) -> &AtomicU64) {
        if let Some(counters) = self.counters.get(vector as usize) {
            which(counters).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what was held for entries that are unmasked now.
    pub(super) fn send_pending(&self) {
        for vector in self.pending.all() {
            let unit = self.unit();
            let Ok(entry) = self.table.entry(vector) else { continue };
            if !entry.masked && self.pending.take(vector) {
                let _ = self.table.set_pending(vector, false);
                self.send(&unit, vector, entry.message);
            }
        }
    }

    pub(super) fn pending(&self) -> &Pending {
        &self.pending
    }

    pub(super) fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }

    pub(super) fn set_trapped(&self, trapped: bool) -> io::Result<()> {
        let _unit = self.unit();
        self.trapped.store(trapped, Ordering::SeqCst);
        (0..self.table.vectors()).try_for_each(|vector| self.table.set_pending(vector, false))
    }

    /// Whether a trapped vector that is not started is held.
    pub(super) fn is_pending(&self, vector: u32) -> bool {
        self.table.is_pending(vector).unwrap_or(false)
    }

    pub(super) fn start(&self, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let end = u32::try_from(eventfds.len()).ok().and_then(|count| first.checked_add(count));
        if end.is_none_or(|end| end > self.table.vectors()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // All duplicates before any IRTE: all or none.
        let duplicates =
            eventfds.iter().map(|eventfd| eventfd.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let mut unit = self.unit();
        for (index, eventfd) in (first..).zip(duplicates) {
            unit.set(index, eventfd);
            if self.trapped.load(Ordering::SeqCst) && self.table.is_pending(index)? {
                self.table.set_pending(index, false)?;
                self.raise_trapped(&unit, index);
            }
        }
        Ok(())
    }

    /// Masks and clears under the lock of [`Core::raise`]: when it returns nothing more is sent.
    pub(super) fn stop(&self, first: u32, count: u32) -> io::Result<()> {
        let mut unit = self.unit();
        for index in first..first.saturating_add(count) {
            self.table.mask(index)?;
            unit.clear(index);
            self.pending.take(index);
            self.table.set_pending(index, false)?;
        }
        Ok(())
    }
}
