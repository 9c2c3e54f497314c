//! The PCI bus: functions in its slots, BARs allocated for them, accesses brought to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, Result, anyhow, bail};
use pvir_host::function::{BarMapper, BarRange, PciFunction};
use pvir_host::pci::BarSpec;
use serde::{Deserialize, Serialize};

use super::devfn::DevFn;
use super::host_bridge;
use super::registers::FunctionRegisters;
use super::space::BusSpace;
use super::windows::Windows;
use crate::vm::address_bits::AddressBits;
use crate::vm::layout;
use crate::vm::memory::GuestRange;
use crate::vm::slots::MemorySlots;

/// The places of a bus, the host bridge's too.
pub(crate) const PLACES: usize = 32;

/// A function on the bus.
pub(crate) struct Slot {
    devfn: DevFn,
    /// No other slot of this run has it, so that a device is told from the next one in its place.
    serial: u64,
    function: Arc<PciFunction>,
    /// The same, as the guest reaches it.
    registers: Arc<dyn FunctionRegisters>,
    /// Where its BARs are when the guest starts.
    placed: PlacedBars,
}

/// The first addresses of a function's BARs.
#[derive(Debug)]
pub(crate) struct PlacedBars(Vec<(u8, BarSpec, u64)>);

impl PlacedBars {
    fn put_into(&self, function: &PciFunction) -> Result<()> {
        for (bar, spec, address) in &self.0 {
            function.set_bar_address(*bar, *address)?;
            let (address, size) = (format_args!("{address:#x}"), spec.size());
            tracing::debug!(device = %function.name(), bar, address, size, "BAR");
        }
        Ok(())
    }
}

impl Slot {
    pub(crate) fn devfn(&self) -> DevFn {
        self.devfn
    }

    /// The row of the function in the counters.
    pub(crate) fn index(&self) -> usize {
        self.devfn.number().into()
    }

    /// What tells the device from all others of this run.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn function(&self) -> &PciFunction {
        &self.function
    }

    /// Where its BARs were put first.
    pub(crate) fn placed(&self) -> &PlacedBars {
        &self.placed
    }

    pub(crate) fn registers(&self) -> &dyn FunctionRegisters {
        &*self.registers
    }
}

/// Where a function was on the bus of another machine, and is again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Device and function, as in a configuration address.
    devfn: u8,
    /// The number of each BAR, and its [first address](PlacedBars).
    bars: Vec<(u8, u64)>,
}

impl Place {
    pub(crate) fn of(slot: &Slot) -> Self {
        let bars = slot.placed.0.iter().map(|(bar, _, address)| (*bar, *address)).collect();
        Self { devfn: slot.devfn.byte(), bars }
    }

    fn devfn(&self) -> DevFn {
        DevFn::from_byte(self.devfn)
    }

    fn bar(&self, wanted: u8) -> Option<u64> {
        self.bars.iter().find(|(bar, _)| *bar == wanted).map(|(_, address)| *address)
    }
}

/// Bus 0 of segment 0. Slots come and go while vCPUs use it: an access holds its slot, and no lock, while it is served.
pub(crate) struct PciBus {
    slots: RwLock<Slots>,
    space: Arc<BusSpace>,
    windows: Mutex<Windows>,
    /// Where the next functions come.
    expected: Mutex<VecDeque<Place>>,
}

#[derive(Default)]
struct Slots {
    present: BTreeMap<DevFn, Arc<Slot>>,
    /// Slots that there were.
    made: u64,
}

impl PciBus {
    /// A bus with a host bridge at 00:00.0. `ram` is where BARs must not be, and `bits` are how far addresses reach.
    pub(crate) fn new(memory_slots: Arc<MemorySlots>, ram: &[GuestRange], bits: AddressBits) -> Result<Self> {
        let range = |range: std::ops::Range<u64>| GuestRange::new(range.start, range.end - range.start);
        let apics = [layout::IO_APIC, layout::LAPIC].map(range);
        let forbidden = ram.iter().copied().chain(apics).collect();
        let bus = Self {
            slots: RwLock::default(),
            space: Arc::new(BusSpace::new(memory_slots, forbidden, bits)),
            windows: Mutex::new(Windows::new(ram, bits)?),
            expected: Mutex::default(),
        };
        let bridge: Arc<PciFunction> = host_bridge::function(bus.next()?.id(), bus.mapper())?;
        let placed = bus.place("host bridge", bridge.bars())?;
        bus.add(Arc::clone(&bridge), bridge, placed)?;
        Ok(bus)
    }

    /// The next functions come to these places, in their order: the devices of a machine that goes on are where they were,
    /// also behind a place from which one has gone. The host bridge's, which comes first, is there already.
    ///
    /// # Errors
    /// No machine has devices at such places.
    pub(crate) fn expect(&self, places: Vec<Place>) -> Result<()> {
        let numbers: Vec<u8> = places.iter().map(|place| place.devfn).collect();
        let is_bridge_first = numbers.first() == Some(&DevFn::device(0).byte());
        let is_device = |number: &u8| DevFn::device(DevFn::from_byte(*number).number()).byte() == *number;
        if !is_bridge_first || !numbers.iter().all(is_device) || !numbers.is_sorted_by(|one, next| one < next)
        {
            bail!("it is damaged: no machine has devices at {numbers:x?}");
        }
        *self.expected() = places.into_iter().skip(1).collect();
        Ok(())
    }

    /// The place that the next function gets: where it is expected, or the first that is free.
    pub(crate) fn next(&self) -> Result<DevFn> {
        let slots = self.present();
        if let Some(place) = self.expected().front() {
            return Ok(place.devfn());
        }
        let mut places = (0..=u8::MAX).take(PLACES).map(DevFn::device);
        let free = places.find(|place| !slots.present.contains_key(place));
        free.ok_or_else(|| anyhow!("--device: the bus is full, 31 devices at most"))
    }

    /// What functions of the bus move their BARs by.
    pub(crate) fn mapper(&self) -> Arc<dyn BarMapper> {
        Arc::clone(&self.space) as Arc<dyn BarMapper>
    }

    /// Takes addresses for the BARs of a function, for all or for none.
    ///
    /// # Errors
    /// The BAR for which there is no room.
    pub(crate) fn place(&self, name: &str, mut bars: Vec<(u8, BarSpec)>) -> Result<PlacedBars> {
        // The largest first leaves no gaps.
        bars.sort_by_key(|(_, spec)| std::cmp::Reverse(spec.size()));
        let mut placed = PlacedBars(Vec::with_capacity(bars.len()));
        let expected = self.expected().front().cloned();
        for (bar, spec) in bars {
            // Another device than the one that was there has other BARs, and is refused when all are there.
            let before = expected.as_ref().and_then(|place| place.bar(bar));
            let before = before.filter(|address| self.windows().take_at(spec, *address));
            let allocated = before.map_or_else(|| self.windows().allocate(spec), Ok);
            let no_room = || format!("device {name}: no room for BAR{bar} of {:#x} bytes", spec.size());
            match allocated.with_context(no_room) {
                Ok(address) => placed.0.push((bar, spec, address)),
                Err(error) => {
                    self.free(&placed);
                    return Err(error);
                }
            }
        }
        Ok(placed)
    }

    /// Gives addresses back.
    pub(crate) fn free(&self, placed: &PlacedBars) {
        let mut windows = self.windows();
        placed.0.iter().for_each(|(_, spec, address)| windows.free(*spec, *address));
    }

    /// Puts a function, made for [`next`](Self::next), into its slot with its BARs at `placed`. The guest reaches it by
    /// `registers`.
    pub(crate) fn add(
        &self,
        function: Arc<PciFunction>,
        registers: Arc<dyn FunctionRegisters>,
        placed: PlacedBars,
    ) -> Result<Arc<Slot>> {
        let devfn = self.next()?;
        placed.put_into(&function)?;
        self.expected().pop_front();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.made += 1;
        let slot = Arc::new(Slot { devfn, serial: slots.made, function, registers, placed });
        slots.present.insert(devfn, Arc::clone(&slot));
        Ok(slot)
    }

    /// Takes a function from its place: the guest finds nothing there any more. Accesses that are being served hold it.
    pub(crate) fn take(&self, devfn: DevFn) -> Option<Arc<Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).present.remove(&devfn)
    }

    /// Whether all devices can be reset with the machine.
    ///
    /// # Errors
    /// One that cannot.
    pub(crate) fn check_resets(&self) -> Result<()> {
        match self.slots().find(|slot| !slot.function.can_reset()) {
            None => Ok(()),
            Some(slot) => bail!(
                "the host's kernel cannot reset {}, which a guest that is started again would find as it has left it\n\
                 help: leave --on-reboot restart out",
                slot.function.name()
            ),
        }
    }

    /// The machine is reset: functions and devices too, and BARs are where they were at first. No vCPU runs.
    ///
    /// # Errors
    /// The first device that could not be reset. The others were.
    pub(crate) fn reset(&self) -> Result<()> {
        let reset = |slot: Arc<Slot>| -> Result<()> {
            slot.function.reset()?;
            slot.placed.put_into(&slot.function)
        };
        self.slots().map(reset).fold(Ok(()), Result::and)
    }

    /// The window above RAM in which the guest may put 64-bit BARs, if there is one.
    pub(crate) fn high_window(&self) -> Option<GuestRange> {
        self.windows().high()
    }

    fn present(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, VecDeque<Place>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All functions that there are now, in the order of their places.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Arc<Slot>> + use<> {
        self.present().present.values().cloned().collect::<Vec<_>>().into_iter()
    }

    /// The same, without their places.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Arc<PciFunction>> + use<> {
        self.slots().map(|slot| Arc::clone(&slot.function))
    }

    /// The slot of a function.
    pub(crate) fn slot(&self, devfn: DevFn) -> Option<Arc<Slot>> {
        self.present().present.get(&devfn).cloned()
    }

    /// Reads memory of a BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn memory_read(&self, address: u64, data: &mut [u8]) -> Option<(usize, u8)> {
        self.read(self.space.find_memory(address, data.len())?, data)
    }

    /// Writes memory of a BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn memory_write(&self, address: u64, data: &[u8]) -> Option<(usize, u8)> {
        self.write(self.space.find_memory(address, data.len())?, data)
    }

    /// Reads a port of an I/O BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn port_read(&self, port: u16, data: &mut [u8]) -> Option<(usize, u8)> {
        self.read(self.space.find_port(port, data.len())?, data)
    }

    /// Writes a port of an I/O BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn port_write(&self, port: u16, data: &[u8]) -> Option<(usize, u8)> {
        self.write(self.space.find_port(port, data.len())?, data)
    }

    fn read(&self, (range, offset): (BarRange, u64), data: &mut [u8]) -> Option<(usize, u8)> {
        let slot = self.slot_of(&range)?;
        slot.registers.bar_read(range.bar, offset, data);
        Some((slot.index(), range.bar))
    }

    fn write(&self, (range, offset): (BarRange, u64), data: &[u8]) -> Option<(usize, u8)> {
        let slot = self.slot_of(&range)?;
        slot.registers.bar_write(range.bar, offset, data);
        Some((slot.index(), range.bar))
    }

    fn slot_of(&self, range: &BarRange) -> Option<Arc<Slot>> {
        let [devfn, _] = range.function.bdf.0.to_le_bytes();
        self.slot(DevFn::from_byte(devfn))
    }
}
