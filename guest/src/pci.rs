//! PCI configuration space, as far as MSI and MSI-X need it.
//!
//! The capability list is walked here and not by `pci_types`, which follows it without an end: a host or a broken
//! device may answer a list that returns to its beginning. BARs are read here too, because `pci_types` sizes them,
//! and that moves the BAR of a device in use for a moment.
#![expect(unsafe_code, reason = "configuration space is reached by unsafe functions")]

use core::fmt;
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PciError {
    /// There is no device at this address: it reads as all ones.
    Absent {
        /// The device.
        device: DeviceId,
    },
    /// The list of capabilities returns to its beginning.
    CapabilityLoop {
        /// The device.
        device: DeviceId,
    },
    /// The device has no such capability.
    NoCapability {
        /// The device.
        device: DeviceId,
        /// The capability's id: 0x05 MSI, 0x11 MSI-X.
        id: u8,
    },
    /// MSI or MSI-X is enabled already, so that somebody else uses it. If nobody does, disable it first.
    InUse {
        /// The device.
        device: DeviceId,
    },
    /// MSI or MSI-X does not stay enabled.
    NotEnabled {
        /// The device.
        device: DeviceId,
    },
    /// Memory decoding is off in the command register, so that the table cannot be reached.
    DecodeOff {
        /// The device.
        device: DeviceId,
    },
    /// The BAR is not a memory BAR, has no address, or an address that is out of range.
    BadBar {
        /// The device.
        device: DeviceId,
        /// Number of the BAR.
        bar: u8,
    },
    /// The platform cannot map the table or its pending bits.
    NotMapped {
        /// The device.
        device: DeviceId,
        /// Physical address of what was to be mapped.
        address: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// An entry of the table does not stay masked.
    NotMasked {
        /// The device.
        device: DeviceId,
        /// Index of the entry.
        index: u32,
    },
    /// The device cannot send that number of MSI messages, or the number is not a power of two.
    MessageCount {
        /// The device.
        device: DeviceId,
        /// Number of messages asked for.
        asked: u32,
        /// Number of messages that the device can send.
        has: u32,
    },
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { device } => write!(f, "no device {device}"),
            Self::CapabilityLoop { device } => write!(f, "device {device}: the capability list has no end"),
            Self::NoCapability { device, id } => write!(f, "device {device}: no capability {id:#04x}"),
            Self::InUse { device } => {
                write!(
                    f,
                    "device {device}: MSI or MSI-X is already enabled; help: disable it if nobody uses it"
                )
            }
            Self::NotEnabled { device } => write!(f, "device {device}: MSI or MSI-X does not stay enabled"),
            Self::DecodeOff { device } => {
                write!(f, "device {device}: memory decoding is off; help: set bit 1 of the command register")
            }
            Self::BadBar { device, bar } => write!(f, "device {device}: BAR {bar} is no assigned memory"),
            Self::NotMapped { device, address, len } => {
                write!(f, "device {device}: {len} bytes at {address:#x} cannot be mapped")
            }
            Self::NotMasked { device, index } => {
                write!(f, "device {device}: MSI-X entry {index} does not stay masked")
            }
            Self::MessageCount { device, asked, has } => {
                write!(
                    f,
                    "device {device}: {asked} MSI messages asked for, it has {has}; help: ask for a power of two"
                )
            }
        }
    }
}

impl core::error::Error for PciError {}

/// The configuration space of one function.
pub(crate) struct Function<'p, A: ?Sized> {
    access: &'p A,
    address: PciAddress,
    pub(crate) device: DeviceId,
}

impl<A: ?Sized> Clone for Function<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: ?Sized> Copy for Function<'_, A> {}

impl<'p, A: ConfigRegionAccess + ?Sized> Function<'p, A> {
    /// The function, if it is there.
    pub(crate) fn open(access: &'p A, device: DeviceId) -> Result<Self, PciError> {
        let bdf = device.bdf;
        let address = PciAddress::new(device.segment, bdf.bus(), bdf.device(), bdf.function());
        let this = Self { access, address, device };
        if this.read(0) == u32::MAX { Err(PciError::Absent { device }) } else { Ok(this) }
    }

    /// Reads the dword at `offset`, made to lie in the first 256 bytes.
    pub(crate) fn read(&self, offset: u16) -> u32 {
        // SAFETY: a 4-byte aligned offset below 256; the platform promises that reading it does not fault.
        unsafe { self.access.read(self.address, offset & 0xfc) }
    }

    /// Writes the dword at `offset`, made to lie in the first 256 bytes.
    pub(crate) fn write(&self, offset: u16, value: u32) {
        // SAFETY: a 4-byte aligned offset below 256; the platform promises that writing it does not fault. This crate
        // writes to the command register and to the MSI and MSI-X capabilities only.
        unsafe { self.access.write(self.address, offset & 0xfc, value) }
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
    pub(crate) fn memory_bar(&self, bar: u8) -> Result<u64, PciError> {
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

    /// Physical address of `len` bytes at `offset` of memory BAR `bar`.
    pub(crate) fn in_bar(&self, bar: u8, offset: u32, len: usize) -> Result<PhysAddr, PciError> {
        let bad = PciError::BadBar { device: self.device, bar };
        let start = self.memory_bar(bar)?.checked_add(u64::from(offset)).ok_or(bad)?;
        let end = start.checked_add(len as u64).ok_or(bad)?;
        PhysAddr::try_new(end).map_err(|_| bad)?;
        PhysAddr::try_new(start).map_err(|_| bad)
    }
}
