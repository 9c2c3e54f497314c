//! PCI configuration space, as far as MSI and MSI-X need it.
//!
//! The capability list is walked here and not by `pci_types`, which follows it without an end: a host or a broken
//! device may answer a list that returns to its beginning. BARs are read here too, because `pci_types` sizes them,
//! and that moves the BAR of a device in use for a moment.
#![expect(unsafe_code, reason = "configuration space is reached by unsafe functions")]

use crate::Platform;
use core::ptr::NonNull;
use pci_types::{CommandRegister, ConfigRegionAccess, PciAddress, StatusRegister};
use pvir_abi::DeviceId;
use x86_64::PhysAddr;

/// Offset of command (low half) and status (high half).
const COMMAND: u16 = 0x04;
/// Offset of the first BAR.
const BAR0: u16 = 0x10;
/// Offset of the pointer to the first capability.
const CAPABILITIES: u16 = 0x34;
/// The first offset that a capability may have.
const FIRST_CAPABILITY: u16 = 0x40;
/// Maximum number of capabilities: those of 4 bytes each that fit behind the header.
const MAX_CAPABILITIES: usize = 48;

/// Why the MSI or MSI-X capability of a device cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PciError {
    /// There is no device at this address: it reads as all ones.
    #[error("no device {device}")]
    Absent {
        /// The device.
        device: DeviceId,
    },
    /// The list of capabilities returns to its beginning.
    #[error("device {device}: the capability list has no end")]
    CapabilityLoop {
        /// The device.
        device: DeviceId,
    },
    /// The device has no such capability.
    #[error("device {device}: no capability {id:#04x}")]
    NoCapability {
        /// The device.
        device: DeviceId,
        /// The capability's id: 0x05 MSI, 0x11 MSI-X.
        id: u8,
    },
    /// MSI or MSI-X is enabled already, so that somebody else uses it. If nobody does, disable it first.
    #[error("device {device}: MSI or MSI-X is already enabled; help: disable it if nobody uses it")]
    InUse {
        /// The device.
        device: DeviceId,
    },
    /// MSI or MSI-X does not stay enabled.
    #[error("device {device}: MSI or MSI-X does not stay enabled")]
    NotEnabled {
        /// The device.
        device: DeviceId,
    },
    /// Memory decoding is off in the command register, so that the table cannot be reached.
    #[error("device {device}: memory decoding is off; help: set bit 1 of the command register")]
    DecodeOff {
        /// The device.
        device: DeviceId,
    },
    /// Bus Master is off in the command register, so that the device sends no message, whatever is programmed (PCI
    /// Express Base Specification 6.0, section 7.5.1.1.3 "Command Register").
    #[error(
        "device {device}: bus master is off, so that it sends no message; help: set bit 2 of the command register"
    )]
    BusMasterOff {
        /// The device.
        device: DeviceId,
    },
    /// The BAR is not a memory BAR, has no address, or an address that is out of range.
    #[error("device {device}: BAR {bar} is no assigned memory")]
    BadBar {
        /// The device.
        device: DeviceId,
        /// Number of the BAR.
        bar: u8,
    },
    /// The BAR lies over RAM, as [`Platform::is_ram`] says. It was not mapped: what the driver writes to it would
    /// land in the kernel's memory.
    #[error("device {device}: BAR {bar} puts {len} bytes at {address:#x}, which is RAM")]
    BarInRam {
        /// The device.
        device: DeviceId,
        /// Number of the BAR.
        bar: u8,
        /// Physical address of what was to be mapped.
        address: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// The platform cannot map the table or its pending bits.
    #[error("device {device}: {len} bytes at {address:#x} cannot be mapped")]
    NotMapped {
        /// The device.
        device: DeviceId,
        /// Physical address of what was to be mapped.
        address: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// An entry of the table does not stay masked.
    #[error("device {device}: MSI-X entry {index} does not stay masked")]
    NotMasked {
        /// The device.
        device: DeviceId,
        /// Index of the entry.
        index: u32,
    },
    /// Tables are open whose entries use up the driver's room for claims: 65,536 entries, in steps of 64.
    #[error("device {device}: no room for the claims of {entries} more entries; help: drop a table")]
    TooManyEntries {
        /// The device.
        device: DeviceId,
        /// Number of entries of its table.
        entries: u32,
    },
    /// The device cannot send that number of MSI messages, or the number is not a power of two.
    #[error("device {device}: {asked} MSI messages asked for, it has {has}; help: ask for a power of two")]
    MessageCount {
        /// The device.
        device: DeviceId,
        /// Number of messages asked for.
        asked: u32,
        /// Number of messages that the device can send.
        has: u32,
    },
}

/// The configuration space of one function.
#[derive(Clone, Copy)]
pub(crate) struct Function<P> {
    platform: P,
    address: PciAddress,
    pub(crate) device: DeviceId,
}

impl<P: Platform> Function<P> {
    /// The function, if it is there.
    pub(crate) fn open(platform: P, device: DeviceId) -> Result<Self, PciError> {
        let bdf = device.bdf;
        let address = PciAddress::new(device.segment, bdf.bus(), bdf.device(), bdf.function());
        let this = Self { platform, address, device };
        if this.read(0) == u32::MAX { Err(PciError::Absent { device }) } else { Ok(this) }
    }

    /// Reads the dword at `offset`, made to lie in the first 256 bytes.
    pub(crate) fn read(&self, offset: u16) -> u32 {
        // SAFETY: a 4-byte aligned offset below 256; the platform promises that reading it does not fault.
        unsafe { self.platform.config().read(self.address, offset & 0xfc) }
    }

    /// Writes the dword at `offset`, made to lie in the first 256 bytes.
    pub(crate) fn write(&self, offset: u16, value: u32) {
        // SAFETY: a 4-byte aligned offset below 256; the platform promises that writing it does not fault. This crate
        // writes to the command register and to the MSI and MSI-X capabilities only.
        unsafe { self.platform.config().write(self.address, offset & 0xfc, value) }
    }

    /// The kernel by which the function is reached.
    pub(crate) const fn platform(&self) -> &P {
        &self.platform
    }

    /// Checks that the function may send messages.
    pub(crate) fn sends(&self) -> Result<(), PciError> {
        if self.command().contains(CommandRegister::BUS_MASTER_ENABLE) {
            Ok(())
        } else {
            Err(PciError::BusMasterOff { device: self.device })
        }
    }

    pub(crate) fn command(&self) -> CommandRegister {
        let [low, high, ..] = self.read(COMMAND).to_le_bytes();
        CommandRegister::from_bits_retain(u16::from_le_bytes([low, high]))
    }

    /// Sets the bit that keeps the device from falling back to its interrupt pin.
    pub(crate) fn disable_pin(&self) {
        let command = self.command() | CommandRegister::INTERRUPT_DISABLE;
        // Status, the high half, is cleared by ones: zeros leave it alone.
        self.write(COMMAND, u32::from(command.bits()));
    }

    /// Offset of capability `id`.
    pub(crate) fn capability(&self, id: u8) -> Result<u16, PciError> {
        let device = self.device;
        let [.., s0, s1] = self.read(COMMAND).to_le_bytes();
        if !StatusRegister::new(u16::from_le_bytes([s0, s1])).has_capability_list() {
            return Err(PciError::NoCapability { device, id });
        }
        let [first, ..] = self.read(CAPABILITIES).to_le_bytes();
        let mut offset = u16::from(first & 0xfc);
        for _ in 0..MAX_CAPABILITIES {
            if offset < FIRST_CAPABILITY {
                return Err(PciError::NoCapability { device, id });
            }
            let [found, next, ..] = self.read(offset).to_le_bytes();
            if found == id {
                return Ok(offset);
            }
            offset = u16::from(next & 0xfc);
        }
        Err(PciError::CapabilityLoop { device })
    }

    /// Address of memory BAR `bar`, whose size is not asked for.
    fn memory_bar(&self, bar: u8) -> Result<u64, PciError> {
        let bad = PciError::BadBar { device: self.device, bar };
        let slots = if bar < 6 { BAR0.checked_add(u16::from(bar).saturating_mul(4)) } else { None };
        let offset = slots.ok_or(bad)?;
        let low = self.read(offset);
        let high = match low & 0b111 {
            0b000 => 0,
            0b100 if bar < 5 => self.read(offset.saturating_add(4)),
            _ => return Err(bad),
        };
        let address = u64::from(high) << 32 | u64::from(low & !0xf);
        if address == 0 { Err(bad) } else { Ok(address) }
    }

    /// Maps `len` bytes at `offset` of memory BAR `bar`, unless RAM is there.
    pub(crate) fn map_bar(&self, bar: u8, offset: u32, len: usize) -> Result<NonNull<u32>, PciError> {
        let device = self.device;
        let address = self.in_bar(bar, offset, len)?;
        let at = address.as_u64();
        // A BAR's address comes from the host, and what is written there must not land in the kernel's memory.
        if self.platform.is_ram(address, len) {
            return Err(PciError::BarInRam { device, bar, address: at, len });
        }
        self.platform.map_mmio(address, len).ok_or(PciError::NotMapped { device, address: at, len })
    }

    /// Physical address of `len` bytes at `offset` of memory BAR `bar`.
    fn in_bar(&self, bar: u8, offset: u32, len: usize) -> Result<PhysAddr, PciError> {
        let bad = PciError::BadBar { device: self.device, bar };
        let start = self.memory_bar(bar)?.checked_add(u64::from(offset)).ok_or(bad)?;
        let end = start.checked_add(len as u64).ok_or(bad)?;
        PhysAddr::try_new(end).map_err(|_| bad)?;
        PhysAddr::try_new(start).map_err(|_| bad)
    }
}
