//! BARs: where a function's registers are, and a place for those that the firmware left without.
//!
//! Sizing writes all ones into a BAR. With decoding on, that moves the device over whatever lies there, and a
//! passed-through device is really mapped there: it kills the VM. So decoding is off meanwhile.

#![expect(unsafe_code, reason = "writes BARs, and declares their memory to be registers")]

use super::Function;
use super::config::PortAccess;
use crate::machine::memory::registers::{Registers, halves};
use core::fmt;
use pci_types::{Bar, CommandRegister, ConfigRegionAccess, EndpointHeader, PciAddress};
use spin::Mutex;

const SLOTS: u8 = 6;
/// Where BARs go that have no address: below the window that firmware and the machine's own devices use, clear
/// of the configuration windows (ECAM) of q35 and Cloud Hypervisor.
const WINDOW_START: u64 = 0xd000_0000;
const WINDOW_END: u64 = 0xe000_0000;

static NEXT: Mutex<u64> = Mutex::new(WINDOW_START);

/// A BAR with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryBar {
    pub(crate) slot: u8,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// Why a BAR cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarError {
    /// The function has no memory BAR in this slot.
    Missing(PciAddress, u8),
    /// No room is left in the window.
    NoRoom(PciAddress, u8),
    /// The address cannot be mapped.
    NotMapped(PciAddress, u8),
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(address, slot) => write!(f, "pci {address}: no memory BAR {slot}"),
            Self::NoRoom(address, slot) => write!(f, "pci {address}: no room to place BAR {slot}"),
            Self::NotMapped(address, slot) => write!(f, "pci {address}: BAR {slot} cannot be mapped"),
        }
    }
}

impl core::error::Error for BarError {}

/// The memory BARs of a function, placed first where they have no address, given to `each`.
pub(crate) fn each_memory_bar(function: &Function, mut each: impl FnMut(MemoryBar)) -> Result<(), BarError> {
    let Some(mut endpoint) = function.endpoint() else { return Ok(()) };
    let command = endpoint.command(PortAccess);
    let decoding = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
    endpoint.update_command(PortAccess, |command| command.difference(decoding));
    let outcome = walk(function.address, &endpoint, &mut each);
    endpoint.update_command(PortAccess, |_| command);
    outcome
}

/// The registers behind a BAR. Decoding is on afterwards.
pub(crate) fn registers(function: &Function, slot: u8) -> Result<Registers, BarError> {
    let mut found = None;
    each_memory_bar(function, |bar| {
        if bar.slot == slot {
            found = Some(bar);
        }
    })?;
    let bar = found.ok_or(BarError::Missing(function.address, slot))?;
    function.enable();
    // SAFETY: the BAR's range is decoded by this function, so it is no RAM.
    unsafe { Registers::map(bar.address, bar.size) }.ok_or(BarError::NotMapped(function.address, slot))
}

fn walk(
    address: PciAddress,
    endpoint: &EndpointHeader,
    each: &mut impl FnMut(MemoryBar),
) -> Result<(), BarError> {
    let mut slot = 0;
    while slot < SLOTS {
        let bar = if is_reserved(address, slot) { None } else { endpoint.bar(slot, PortAccess) };
        let (width, found) = match bar {
            Some(Bar::Memory32 { address, size, .. }) => (1, Some((u64::from(address), u64::from(size)))),
            Some(Bar::Memory64 { address, size, .. }) => (2, Some((address, size))),
            Some(Bar::Io { .. }) | None => (1, None),
        };
        if let Some((start, size)) = found {
            let start = if start == 0 { place(address, slot, width, size)? } else { start };
            each(MemoryBar { slot, address: start, size });
        }
        slot += width;
    }
    Ok(())
}

/// Whether the type bits are a value that the specification reserves.
fn is_reserved(address: PciAddress, slot: u8) -> bool {
    // SAFETY: reading a BAR has no side effect.
    let value = unsafe { PortAccess.read(address, bar_offset(slot)) };
    value & 1 == 0 && value & 0b010 == 0b010 && value & 0b110 != 0b100
}

fn place(address: PciAddress, slot: u8, width: u8, size: u64) -> Result<u64, BarError> {
    let mut next = NEXT.lock();
    let start = next.next_multiple_of(size.max(4096));
    let end =
        start.checked_add(size).filter(|end| *end <= WINDOW_END).ok_or(BarError::NoRoom(address, slot))?;
    *next = end;
    let (low, high) = halves(start);
    // SAFETY: decoding is off, and the window is given to nobody else.
    unsafe { PortAccess.write(address, bar_offset(slot), low) };
    if width == 2 {
        // SAFETY: as above.
        unsafe { PortAccess.write(address, bar_offset(slot + 1), high) };
    }
    Ok(start)
}

const fn bar_offset(slot: u8) -> u16 {
    0x10 + slot as u16 * 4
}
