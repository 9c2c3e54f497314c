//! The device itself: raises interrupts through their stores and its remapping unit, and counts what became of them.

mod sending;

use super::counts::{InterruptCounters, InterruptCounts};
use super::held::HeldVectors;
use super::rate::{RateGenerator, RatePlan};
use super::state::DeviceState;
use pvir_abi::Store;
use pvir_host::emulation::SharedTable;
use pvir_host::emulation::StoreLayout;
use pvir_host::memory::GuestRam;
use pvir_host::pci::MsiRegisters;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An emulated device, shared by its registers, its service side and its threads.
pub(crate) struct DeviceModel {
    layout: StoreLayout,
    table: Option<SharedTable>,
    ram: Arc<dyn GuestRam>,
    state: Mutex<DeviceState>,
    pending: Arc<HeldVectors>,
    generator: Arc<RateGenerator>,
    counters: Vec<InterruptCounters>,
    dma_faults: AtomicU64,
}

impl DeviceModel {
    /// A device that has these `handles`, as a [`HandlePool`](pvir_host::emulation::HandlePool) gave them, and reaches `ram` by DMA.
    ///
    /// # Errors
    /// `InvalidInput` if the handles are not as many as the layout takes; otherwise if memory or a thread cannot be had.
    pub(crate) fn new(
        layout: StoreLayout,
        handles: &Range<u32>,
        ram: Arc<dyn GuestRam>,
    ) -> io::Result<Arc<Self>> {
        if handles.end.checked_sub(handles.start) != Some(layout.handles()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let table = match layout.msix_entries() {
            0 => None,
            entries => Some(SharedTable::new(entries)?),
        };
        let model = Arc::new(Self {
            layout,
            table,
            ram,
            state: Mutex::new(DeviceState::new(layout, handles.start)),
            pending: Arc::default(),
            generator: Arc::default(),
            counters: (0..layout.interrupts()).map(|_| InterruptCounters::default()).collect(),
            dma_faults: AtomicU64::new(0),
        });
        if model.table.is_some() {
            model.pending.start_thread(&model)?;
        }
        model.generator.start_thread(&model)?;
        Ok(model)
    }

    /// What the device has.
    #[must_use]
    pub(crate) fn layout(&self) -> &StoreLayout {
        &self.layout
    }

    /// The MSI-X table, if it has one.
    #[must_use]
    pub(crate) fn table(&self) -> Option<&SharedTable> {
        self.table.as_ref()
    }

    /// What became of an interrupt; zero for one that does not exist.
    #[must_use]
    pub(crate) fn counts(&self, number: u32) -> InterruptCounts {
        self.counters.get(number as usize).map(InterruptCounters::read).unwrap_or_default()
    }

    /// Sequence numbers that could not be written.
    #[must_use]
    pub(crate) fn dma_faults(&self) -> u64 {
        self.dma_faults.load(Ordering::Relaxed)
    }

    /// Bus Master Enable of the COMMAND register. Off at the start; while it is off, the device neither sends messages
    /// nor reaches memory.
    pub(crate) fn set_bus_master(&self, on: bool) {
        self.state().bus_master = on;
    }

    /// A function level reset: nothing is raised any more or held, the table is as at the start, and no memory is reached.
    /// IRTEs, who programs the device, and counts stay.
    pub(crate) fn reset(&self) {
        self.stop_running();
        let mut state = self.state();
        state.reset();
        for index in 0..self.layout.msix_entries() {
            self.pending.take(index);
        }
        // All these entries exist.
        let _ = self.table.as_ref().map(SharedTable::reset);
    }

    /// What the guest has written into the MSI capability. Messages that waited and are unmasked now are sent.
    pub(crate) fn set_msi(&self, registers: MsiRegisters) {
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
    pub(crate) fn msi_pending(&self) -> u32 {
        self.state().msi.pending()
    }

    /// Where the IMS entries are: an array in the guest's RAM, aligned to 16 bytes; 0 for none.
    pub(crate) fn set_ims_base(&self, base: u64) {
        self.state().ims.set_base(base);
    }

    /// The address that [`set_ims_base`](Self::set_ims_base) has set.
    #[must_use]
    pub(crate) fn ims_base(&self) -> u64 {
        self.state().ims.base()
    }

    /// Where the sequence numbers go: an array of 64-bit numbers in the guest's RAM, aligned to 8 bytes; 0 for none.
    pub(crate) fn set_sequences(&self, base: u64) {
        self.state().sequences = base;
    }

    /// The address that [`set_sequences`](Self::set_sequences) has set.
    #[must_use]
    pub(crate) fn sequences(&self) -> u64 {
        self.state().sequences
    }

    /// Tells the device that an IMS entry may have been unmasked: what is held for it is sent.
    pub(crate) fn ring_doorbell(&self, index: u32) {
        let mut state = self.state();
        let Some(number) = self.layout.number(Store::IMS, index) else { return };
        let entry = state.entry(None, &*self.ram, Store::IMS, index);
        // With nothing to read it is blocked, and so is not held any more.
        if !entry.is_some_and(|entry| entry.masked) && state.ims.take(index) {
            self.send(&mut state, number, (Store::IMS, index));
        }
    }

    /// Raises an interrupt once: its sequence number is written, then it is held while its entry is masked, otherwise the
    /// message that stands in the entry is sent, whatever it says. One that does not exist is ignored.
    pub(crate) fn raise(&self, number: u32) {
        let Some(entry) = self.layout.entry(number) else { return };
        // One lock around both, so that the numbers of one interrupt never go back.
        let mut state = self.state();
        let sequence = self.count(number, |counters| &counters.raised);
        self.write_sequence(&state, number, sequence);
        self.send(&mut state, number, entry);
    }

    /// Raises interrupts from a thread, in place of those that it raises now.
    pub(crate) fn run(&self, plan: RatePlan) {
        self.generator.run(plan);
    }

    /// Stops the rate thread: when it returns the thread raises nothing more.
    pub(crate) fn stop_running(&self) {
        self.generator.stop();
    }

    /// The plan that the thread runs, and the rounds that are left of it.
    pub(crate) fn running(&self) -> Option<(RatePlan, u32)> {
        self.generator.running()
    }

    /// Stops what the device does by itself, or lets it go on. When it returns, nothing more is sent.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.generator.set_paused(paused);
        self.state().paused = paused;
    }

    /// The entries of the table that hold an interrupt until they are unmasked.
    pub(crate) fn waiting(&self) -> &HeldVectors {
        &self.pending
    }

    /// Goes on with counts of before.
    pub(crate) fn set_counts(&self, counts: &[InterruptCounts], dma_faults: u64) {
        self.counters.iter().zip(counts).for_each(|(counters, counts)| counters.set(*counts));
        self.dma_faults.store(dma_faults, Ordering::Relaxed);
    }

    /// Rounds that the thread has yet to raise.
    #[must_use]
    pub(crate) fn rounds_left(&self) -> u32 {
        self.generator.left()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, DeviceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DeviceModel {
    fn drop(&mut self) {
        self.generator.end();
        self.pending.end();
    }
}
