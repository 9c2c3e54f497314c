//! The PCI bus: functions in its slots, BARs allocated for them, accesses brought to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use pvir_host::function::{BarMapper, BarRange, PciFunction};

use super::devfn::DevFn;
use super::host_bridge;
use super::registers::FunctionRegisters;
use super::space::BusSpace;
use super::windows::Windows;
use crate::vm::address_bits::AddressBits;
use crate::vm::layout;
use crate::vm::memory::GuestRange;
use crate::vm::slots::MemorySlots;

/// A function on the bus.
pub(crate) struct Slot {
    devfn: DevFn,
    index: usize,
    function: Arc<PciFunction>,
    /// The same, as the guest reaches it.
    registers: Arc<dyn FunctionRegisters>,
    /// Where its BARs are when the guest starts.
    addresses: Vec<(u8, u64)>,
}

impl Slot {
    pub(crate) fn devfn(&self) -> DevFn {
        self.devfn
    }

    /// The row of the function in the counters.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn function(&self) -> &PciFunction {
        &self.function
    }

    pub(crate) fn registers(&self) -> &dyn FunctionRegisters {
        &*self.registers
    }
}

/// Bus 0 of segment 0.
pub(crate) struct PciBus {
    slots: BTreeMap<DevFn, Slot>,
    space: Arc<BusSpace>,
    windows: Windows,
}

impl PciBus {
    /// A bus with a host bridge at 00:00.0. `ram` is where BARs must not be, and `bits` are how far addresses reach.
    pub(crate) fn new(memory_slots: Arc<MemorySlots>, ram: &[GuestRange], bits: AddressBits) -> Result<Self> {
        let range = |range: std::ops::Range<u64>| GuestRange::new(range.start, range.end - range.start);
        let apics = [layout::IO_APIC, layout::LAPIC].map(range);
        let forbidden = ram.iter().copied().chain(apics).collect();
        let mut bus = Self {
            slots: BTreeMap::new(),
            space: Arc::new(BusSpace::new(memory_slots, forbidden, bits)),
            windows: Windows::new(ram, bits)?,
        };
        let bridge = host_bridge::function(bus.next()?.id(), bus.mapper())?;
        bus.add(Arc::clone(&bridge), bridge)?;
        Ok(bus)
    }

    /// The place that the next function gets.
    pub(crate) fn next(&self) -> Result<DevFn> {
        let number = u8::try_from(self.slots.len()).ok().filter(|number| *number < 32);
        number.map(DevFn::device).ok_or_else(|| anyhow!("--device: the bus is full, 31 devices at most"))
    }

    /// What functions of the bus move their BARs by.
    pub(crate) fn mapper(&self) -> Arc<dyn BarMapper> {
        Arc::clone(&self.space) as Arc<dyn BarMapper>
    }

    /// Puts a function, made for [`next`](Self::next), into its slot and gives its BARs addresses. The guest reaches it by
    /// `registers`.
    pub(crate) fn add(
        &mut self,
        function: Arc<PciFunction>,
        registers: Arc<dyn FunctionRegisters>,
    ) -> Result<DevFn> {
        let devfn = self.next()?;
        let name = function.name();
        let mut bars = function.bars();
        // The largest first leaves no gaps.
        bars.sort_by_key(|(_, spec)| std::cmp::Reverse(spec.size()));
        let mut addresses = Vec::with_capacity(bars.len());
        for (bar, spec) in bars {
            let no_room = || format!("device {name}: no room for BAR{bar} of {:#x} bytes", spec.size());
            let address = self.windows.allocate(spec).with_context(no_room)?;
            function.set_bar_address(bar, address)?;
            addresses.push((bar, address));
            tracing::debug!(device = %name, bar, address = format_args!("{address:#x}"), size = spec.size(), "BAR");
        }
        self.slots.insert(devfn, Slot { devfn, index: self.slots.len(), function, registers, addresses });
        Ok(devfn)
    }

    /// Whether all devices can be reset with the machine.
    ///
    /// # Errors
    /// One that cannot.
    pub(crate) fn check_resets(&self) -> Result<()> {
        match self.slots.values().find(|slot| !slot.function.can_reset()) {
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
        let reset = |slot: &Slot| -> Result<()> {
            slot.function.reset()?;
            for (bar, address) in &slot.addresses {
                slot.function.set_bar_address(*bar, *address)?;
            }
            Ok(())
        };
        self.slots.values().map(reset).fold(Ok(()), Result::and)
    }

    /// The window above RAM in which the guest may put 64-bit BARs, if there is one.
    pub(crate) fn high_window(&self) -> Option<GuestRange> {
        self.windows.high()
    }

    /// All functions, in the order of their counters.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    /// All functions, in the same order.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &PciFunction> {
        self.slots.values().map(Slot::function)
    }

    /// The slot of a function.
    pub(crate) fn slot(&self, devfn: DevFn) -> Option<&Slot> {
        self.slots.get(&devfn)
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
        Some((slot.index, range.bar))
    }

    fn write(&self, (range, offset): (BarRange, u64), data: &[u8]) -> Option<(usize, u8)> {
        let slot = self.slot_of(&range)?;
        slot.registers.bar_write(range.bar, offset, data);
        Some((slot.index, range.bar))
    }

    fn slot_of(&self, range: &BarRange) -> Option<&Slot> {
        let [devfn, _] = range.function.bdf.0.to_le_bytes();
        self.slot(DevFn::from_byte(devfn))
    }
}
