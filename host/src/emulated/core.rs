//! The device itself: raises interrupts through their stores and its remapping unit, and counts what became of them.

mod sending;

use super::counts::{Counters, Counts};
use super::generator::{Generator, Plan};
use super::msi::MsiRegisters;
use super::pending::Pending;
use super::shape::Shape;
use super::state::State;
use super::table::SharedTable;
use crate::memory::GuestRam;
use pvir_abi::Store;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An emulated device, shared by its registers, its service side and its threads.
pub struct Core {
    shape: Shape,
    table: Option<SharedTable>,
    ram: Arc<dyn GuestRam>,
    state: Mutex<State>,
    pending: Pending,
    generator: Arc<Generator>,
    counters: Vec<Counters>,
    dma_faults: AtomicU64,
}

impl Core {
    /// A device that has these `handles`, as a [`HandlePool`](super::HandlePool) gave them, and reaches `ram` by DMA.
    ///
    /// # Errors
    /// `InvalidInput` if the handles are not as many as the shape takes; otherwise if memory or a thread cannot be had.
    pub fn new(shape: Shape, handles: &Range<u32>, ram: Arc<dyn GuestRam>) -> io::Result<Arc<Self>> {
        if handles.end.checked_sub(handles.start) != Some(shape.handles()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let table = match shape.msix_entries() {
            0 => None,
            entries => Some(SharedTable::new(entries)?),
        };
        let core = Arc::new(Self {
            shape,
            table,
            ram,
            state: Mutex::new(State::new(shape, handles.start)),
            pending: Pending::default(),
            generator: Arc::default(),
            counters: (0..shape.interrupts()).map(|_| Counters::default()).collect(),
            dma_faults: AtomicU64::new(0),
        });
        if core.table.is_some() {
            Pending::watch(&core)?;
        }
        core.generator.watch(&core)?;
        Ok(core)
    }

    /// What the device has.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The MSI-X table, if it has one.
    #[must_use]
    pub fn table(&self) -> Option<&SharedTable> {
        self.table.as_ref()
    }

    /// What became of an interrupt; zero for one that does not exist.
    #[must_use]
    pub fn counts(&self, number: u32) -> Counts {
        self.counters.get(number as usize).map(Counters::read).unwrap_or_default()
    }

    /// Sequence numbers that could not be written.
    #[must_use]
    pub fn dma_faults(&self) -> u64 {
        self.dma_faults.load(Ordering::Relaxed)
    }

    /// Bus Master Enable of the COMMAND register. Off at the start; while it is off, the device neither sends messages
    /// nor reaches memory.
    pub fn set_bus_master(&self, on: bool) {
        self.state().bus_master = on;
    }

    /// What the guest has written into the MSI capability. Messages that waited and are unmasked now are sent.
    pub fn set_msi(&self, registers: MsiRegisters) {
        let mut state = self.state();
        state.msi.set(registers);
        for index in (0..32).filter(|index| state.msi.pending() >> index & 1 != 0).collect::<Vec<_>>() {
            if state.msi.entry(index).is_some_and(|entry| !entry.masked) && state.msi.take(index) {
                self.send(&mut state, index, (Store::MSI, index));
            }
        }
    }

    /// The pending bits of the MSI capability.
    #[must_use]
    pub fn msi_pending(&self) -> u32 {
        self.state().msi.pending()
    }

    /// Where the IMS entries are: an array in the guest's RAM, aligned to 16 bytes; 0 for none.
    pub fn set_ims_base(&self, base: u64) {
        self.state().ims.set_base(base);
    }

    /// See [`Core::set_ims_base`].
    #[must_use]
    pub fn ims_base(&self) -> u64 {
        self.state().ims.base()
    }

    /// Where the sequence numbers go: an array of 64-bit numbers in the guest's RAM, aligned to 8 bytes; 0 for none.
    pub fn set_sequences(&self, base: u64) {
        self.state().sequences = base;
    }

    /// See [`Core::set_sequences`].
    #[must_use]
    pub fn sequences(&self) -> u64 {
        self.state().sequences
    }

    /// Tells the device that an IMS entry may have been unmasked: what is held for it is sent.
    pub fn ring(&self, index: u32) {
        let mut state = self.state();
        let Some(number) = self.shape.number(Store::IMS, index) else { return };
        let entry = state.entry(None, &*self.ram, Store::IMS, index);
        // With nothing to read it is blocked, and so is not held any more.
        if !entry.is_some_and(|entry| entry.masked) && state.ims.take(index) {
            self.send(&mut state, number, (Store::IMS, index));
        }
    }

    /// Raises an interrupt once: its sequence number is written, then it is held while its entry is masked, otherwise the
    /// message that stands in the entry is sent, whatever it says. One that does not exist is ignored.
    pub fn raise(&self, number: u32) {
        let Some(place) = self.shape.place(number) else { return };
        // One lock around both, so that the numbers of one interrupt never go back.
        let mut state = self.state();
        let sequence = self.count(number, |counters| &counters.raised);
        self.tell(&state, number, sequence);
        self.send(&mut state, number, place);
    }

    /// Raises interrupts from a thread, in place of those that it raises now.
    pub fn run(&self, plan: Plan) {
        self.generator.run(plan);
    }

    /// Ends that: when it returns the thread raises nothing more.
    pub fn stop_running(&self) {
        self.generator.stop();
    }

    /// Rounds that the thread has yet to raise.
    #[must_use]
    pub fn rounds_left(&self) -> u32 {
        self.generator.left()
    }

    pub(super) fn pending(&self) -> &Pending {
        &self.pending
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.generator.end();
    }
}
