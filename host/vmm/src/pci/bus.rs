//! The PCI bus: functions in its slots, BARs allocated for them, accesses brought to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{Context, Result, anyhow, bail};
use vm_allocator::{AddressAllocator, AllocPolicy};

use super::bars::{BarKind, Bars};
use super::decoder::Decoder;
use super::function::{DevFn, PciFunction};
use super::host_bridge::HostBridge;
use super::slot::{ConfigChange, PciHeader, PciSlot};
use crate::vm::layout;
use crate::vm::memory::GuestRange;
use crate::vm::slots::MemorySlots;

/// 64-bit BARs up to this size are put below 4 GiB, where the smallest of kernels reaches them.
const LARGE_BAR: u64 = 128 << 20;

/// Windows from which BARs get their first addresses.
struct Windows {
    memory32: AddressAllocator,
    memory64: AddressAllocator,
    ports: AddressAllocator,
}

/// Bus 0 of segment 0.
pub(crate) struct PciBus {
    slots: BTreeMap<DevFn, Arc<PciSlot>>,
    memory_slots: Arc<MemorySlots>,
    windows: Windows,
    /// Where no BAR may decode: RAM and the APICs.
    forbidden: Vec<GuestRange>,
    memory: RwLock<Decoder>,
    ports: RwLock<Decoder>,
    /// Held while BARs move, so that two vCPUs cannot interleave it.
    moving: Mutex<()>,
}

impl PciBus {
    /// A bus with a host bridge at 00:00.0. `ram` is where BARs must not be.
    pub(crate) fn new(memory_slots: Arc<MemorySlots>, ram: &[GuestRange]) -> Result<Self> {
        let high = layout::mmio64(ram);
        let window =
            |start, size| AddressAllocator::new(start, size).context("cannot set up a window for BARs");
        let size = |range: &std::ops::Range<u64>| range.end - range.start;
        let mut bus = Self {
            slots: BTreeMap::new(),
            memory_slots,
            windows: Windows {
                memory32: window(layout::MMIO32.start, size(&layout::MMIO32))?,
                memory64: window(high.start, high.size)?,
                ports: window(layout::PORTS.start, size(&layout::PORTS))?,
            },
            forbidden: ram
                .iter()
                .copied()
                .chain(
                    [layout::IO_APIC, layout::LAPIC].map(|range| GuestRange::new(range.start, size(&range))),
                )
                .collect(),
            memory: RwLock::default(),
            ports: RwLock::default(),
            moving: Mutex::new(()),
        };
        bus.add(Arc::new(HostBridge))?;
        Ok(bus)
    }

    /// Puts a function into the next free slot and gives its BARs addresses.
    pub(crate) fn add(&mut self, function: Arc<dyn PciFunction>) -> Result<DevFn> {
        let index = self.slots.len();
        let number = u8::try_from(index).ok().filter(|number| *number < 32);
        let devfn =
            DevFn::device(number.ok_or_else(|| anyhow!("--device: the bus is full, 31 devices at most"))?);
        let name = function.name();
        let mut bars = Bars::new(function.bars()).with_context(|| format!("device {name}"))?;
        let mut specs: Vec<_> = bars.iter().collect();
        // The largest first leaves no gaps.
        specs.sort_by_key(|(_, spec)| std::cmp::Reverse(spec.size));
        for (bar, spec) in specs {
            let address = self
                .windows
                .allocate(spec.kind, spec.size)
                .with_context(|| format!("device {name}: no room for BAR{bar} of {:#x} bytes", spec.size))?;
            bars.set_address(bar, address);
            tracing::debug!(device = %name, bar, address = format_args!("{address:#x}"), size = spec.size, "BAR");
        }
        self.slots.insert(devfn, Arc::new(PciSlot::new(devfn, index, function, bars)));
        Ok(devfn)
    }

    /// All functions, in the order of their counters.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<PciSlot>> {
        self.slots.values()
    }

    /// The slot of a function.
    pub(crate) fn slot(&self, devfn: DevFn) -> Option<&Arc<PciSlot>> {
        self.slots.get(&devfn)
    }

    /// The guest writes config space of a function.
    pub(crate) fn config_write(&self, slot: &Arc<PciSlot>, offset: u16, data: &[u8]) {
        if slot.config_write(offset, data) == ConfigChange::Decoding {
            if let Err(error) = self.move_bars(slot) {
                log_once(slot, &mut slot.header(), &error);
            }
        }
    }

    /// Reads memory of a BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn memory_read(&self, address: u64, data: &mut [u8]) -> Option<(usize, u8)> {
        read(&self.memory, address, data)
    }

    /// Writes memory of a BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn memory_write(&self, address: u64, data: &[u8]) -> Option<(usize, u8)> {
        write(&self.memory, address, data)
    }

    /// Reads a port of an I/O BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn port_read(&self, port: u16, data: &mut [u8]) -> Option<(usize, u8)> {
        read(&self.ports, port.into(), data)
    }

    /// Writes a port of an I/O BAR. Answers with the function and the BAR, if one decodes there.
    pub(crate) fn port_write(&self, port: u16, data: &[u8]) -> Option<(usize, u8)> {
        write(&self.ports, port.into(), data)
    }

    /// Asks a function anew which parts of its BARs are mapped, and makes it so. For devices that change it while the
    /// guest runs. An error says that the guest still has what it should not have any more.
    pub(crate) fn refresh(&self, devfn: DevFn) -> Result<()> {
        self.slots.get(&devfn).map_or(Ok(()), |slot| self.move_bars(slot))
    }

    /// Brings decoding and mapped parts in line with what the guest has written.
    fn move_bars(&self, slot: &Arc<PciSlot>) -> Result<()> {
        let _moving: MutexGuard<'_, ()> = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let desired = slot.header().desired_ranges();
        let mut header = slot.header();
        let gone: Vec<u8> = header
            .decoded
            .iter()
            .filter(|(bar, range)| {
                !desired.iter().any(|(other, _, decoded)| other == *bar && decoded == *range)
            })
            .map(|(bar, _)| *bar)
            .collect();
        for bar in gone {
            header.decoded.remove(&bar);
            self.memory.write().unwrap_or_else(PoisonError::into_inner).remove(slot, bar);
            self.ports.write().unwrap_or_else(PoisonError::into_inner).remove(slot, bar);
        }
        for (bar, kind, range) in desired {
            if header.decoded.contains_key(&bar) {
                continue;
            }
            match self.decode(slot, bar, kind, range) {
                Ok(()) => {
                    header.decoded.insert(bar, range);
                }
                // A guest does this while it finds the size of a BAR with decoding on; so no more than debug.
                Err(error) => tracing::debug!(device = %slot.devfn(), bar, "BAR does not decode: {error:#}"),
            }
        }
        self.map_parts(slot, &mut header)
    }

    fn decode(&self, slot: &Arc<PciSlot>, bar: u8, kind: BarKind, range: GuestRange) -> Result<()> {
        let in_the_way = |other: GuestRange| anyhow!("{range:x?} overlaps {other:x?}");
        let decoder = match kind {
            BarKind::Io => &self.ports,
            BarKind::Memory32 | BarKind::Memory64 => {
                if range.start.checked_add(range.size).is_none() {
                    bail!("{range:x?} wraps");
                }
                if let Some(other) = self.forbidden.iter().find(|other| other.overlaps(&range)) {
                    return Err(in_the_way(*other));
                }
                &self.memory
            }
        };
        decoder.write().unwrap_or_else(PoisonError::into_inner).insert(range, slot, bar).map_err(in_the_way)
    }

    fn map_parts(&self, slot: &PciSlot, header: &mut PciHeader) -> Result<()> {
        let mut wanted = Vec::new();
        for (bar, range) in &header.decoded {
            for part in slot.function().mapped_parts(*bar) {
                wanted.push((*bar, range.start + part.offset, part));
            }
        }
        let mut result = Ok(());
        header.mapped.retain(|(bar, address, part, id)| {
            if wanted.iter().any(|(b, a, p)| (b, a, p) == (bar, address, part)) {
                return true;
            }
            // What KVM does not let go of stays on the list, so that it is tried again.
            let unmapped = self.memory_slots.unmap(*id).with_context(|| format!("BAR{bar} stays mapped"));
            let stays = unmapped.is_err();
            if stays {
                result = unmapped;
            }
            stays
        });
        for (bar, address, part) in wanted {
            if header.mapped.iter().any(|(b, a, p, _)| (*b, *a, p) == (bar, address, &part)) {
                continue;
            }
            let memory = Arc::clone(&part.memory);
            match self.memory_slots.map(address, memory, part.memory_offset, part.size, part.access) {
                Ok(id) => header.mapped.push((bar, address, part, id)),
                // The device still works: its accesses exit.
                Err(error) => log_once(slot, header, &error.context(format!("BAR{bar} stays trapped"))),
            }
        }
        result
    }
}

/// A guest can bring this about at each write of a BAR, so the log has the first time of each function.
fn log_once(slot: &PciSlot, header: &mut PciHeader, error: &anyhow::Error) {
    if std::mem::replace(&mut header.logged, true) {
        tracing::debug!(device = %slot.devfn(), "{error:#}");
    } else {
        tracing::warn!(device = %slot.devfn(), "{error:#} (further messages of this kind are for debugging)");
    }
}

/// What of the functions is mapped goes before the functions do: a mapping would keep a host device open.
impl Drop for PciBus {
    fn drop(&mut self) {
        for slot in self.slots.values() {
            for (bar, _, _, id) in slot.header().mapped.drain(..) {
                if let Err(error) = self.memory_slots.unmap(id) {
                    tracing::error!(device = %slot.devfn(), bar, "{error:#}");
                }
            }
        }
    }
}

impl Windows {
    fn allocate(&mut self, kind: BarKind, size: u64) -> Result<u64> {
        let (first, second) = match kind {
            BarKind::Io => (&mut self.ports, None),
            BarKind::Memory32 => (&mut self.memory32, None),
            BarKind::Memory64 if size > LARGE_BAR => (&mut self.memory64, None),
            BarKind::Memory64 => (&mut self.memory32, Some(&mut self.memory64)),
        };
        // Pages of their own, so that parts can be mapped.
        let alignment = if kind == BarKind::Io { size } else { size.max(4096) };
        let mut windows = std::iter::once(first).chain(second);
        windows
            .find_map(|window| window.allocate(alignment, alignment, AllocPolicy::FirstMatch).ok())
            .map(|range| range.start())
            .ok_or_else(|| anyhow!("the window for it is full"))
    }
}

fn read(decoder: &RwLock<Decoder>, address: u64, data: &mut [u8]) -> Option<(usize, u8)> {
    let (target, offset) = find(decoder, address, data.len())?;
    target.slot.function().bar_read(target.bar, offset, data);
    Some((target.slot.index(), target.bar))
}

fn write(decoder: &RwLock<Decoder>, address: u64, data: &[u8]) -> Option<(usize, u8)> {
    let (target, offset) = find(decoder, address, data.len())?;
    target.slot.function().bar_write(target.bar, offset, data);
    Some((target.slot.index(), target.bar))
}

/// The lock is not held while the function works.
fn find(decoder: &RwLock<Decoder>, address: u64, size: usize) -> Option<(super::decoder::DecodedBar, u64)> {
    let decoder = decoder.read().unwrap_or_else(PoisonError::into_inner);
    decoder.find(address, size).map(|(target, offset)| (target.clone(), offset))
}
