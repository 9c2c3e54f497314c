//! MSI: one message, or a power of two of consecutive messages, in configuration space
//! (PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures").
//!
//! Writing it is trapped and costs exits, so each register is written once.

use crate::pci::Function;
use crate::{Entry, Mask, Masked, Origin, PciError, Platform, StoreEntry};
use core::fmt;
use pvir_abi::{DeviceId, Pair};

/// Capability id of MSI.
const MSI_ID: u8 = 0x05;

bitflags::bitflags! {
    /// Message control, in the high half of the capability's first dword.
    #[derive(Clone, Copy, Debug)]
    struct Control: u32 {
        const ENABLE = 1 << 16;
        const ADDRESS_64 = 1 << 23;
        const PER_VECTOR_MASKING = 1 << 24;
    }
}

/// Multiple Message Capable: log2 of the messages, bits 19:17.
const CAPABLE_SHIFT: u32 = 17;
/// Multiple Message Enable, bits 22:20.
const ENABLE_SHIFT: u32 = 20;
/// Width of both.
const LOG2_MASK: u32 = 0b111;

/// The MSI capability of one device, found and not yet in use.
pub struct MsiCapability<P: Platform> {
    function: Function<P>,
    offset: u16,
    control: u32,
}

impl<P: Platform> MsiCapability<P> {
    /// Finds the MSI capability of `device`.
    ///
    /// # Errors
    /// [`PciError::Absent`], [`PciError::NoCapability`], [`PciError::CapabilityLoop`]; [`PciError::InUse`] if MSI is
    /// enabled already; [`PciError::BusMasterOff`] if the device may not send messages.
    pub fn open(platform: P, device: DeviceId) -> Result<Self, PciError> {
        let function = Function::open(platform, device)?;
        let offset = function.capability(MSI_ID)?;
        let control = function.read(offset);
        if Control::from_bits_retain(control).contains(Control::ENABLE) {
            return Err(PciError::InUse { device });
        }
        function.sends()?;
        Ok(Self { function, offset, control })
    }

    /// Number of messages that the device can send, 1 to 32.
    #[must_use]
    pub fn messages(&self) -> u32 {
        1 << (self.control >> CAPABLE_SHIFT & LOG2_MASK).min(5)
    }

    /// Takes possession of the capability with `count` messages. MSI is disabled, which counts as masked.
    ///
    /// # Errors
    /// [`PciError::MessageCount`] if `count` is no power of two or more than [`MsiCapability::messages`];
    /// [`PciError::InUse`] if MSI does not stay disabled.
    pub fn claim(self, count: u32) -> Result<Entry<MsiStore<P>, Masked>, PciError> {
        let device = self.function.device;
        if !count.is_power_of_two() || count > self.messages() {
            return Err(PciError::MessageCount { device, asked: count, has: self.messages() });
        }
        let bits = Control::from_bits_retain(self.control);
        let store = MsiStore {
            function: self.function,
            offset: self.offset,
            control: self.control & !(LOG2_MASK << ENABLE_SHIFT) | count.ilog2() << ENABLE_SHIFT,
            layout: Layout::new(bits.contains(Control::ADDRESS_64)),
            masking: bits.contains(Control::PER_VECTOR_MASKING),
            origin: Origin::msi(device, count),
        };
        store.function.disable_pin();
        Entry::claim(store).map_err(|_| PciError::InUse { device })
    }
}

impl<P: Platform> fmt::Debug for MsiCapability<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsiCapability").field("device", &self.function.device).finish_non_exhaustive()
    }
}

/// Offsets of the registers behind the address, from the start of the capability.
#[derive(Clone, Copy, Debug)]
struct Layout {
    address_high: Option<u16>,
    data: u16,
    mask: u16,
    pending: u16,
}

impl Layout {
    const fn new(address_64: bool) -> Self {
        if address_64 {
            Self { address_high: Some(0x08), data: 0x0c, mask: 0x10, pending: 0x14 }
        } else {
            Self { address_high: None, data: 0x08, mask: 0x0c, pending: 0x10 }
        }
    }
}

/// The MSI capability of one device as an entry, owned: nobody else writes it. MSI is disabled when this is dropped.
///
/// A device that can mask single messages is masked by its mask bits, and what it raises meanwhile is pending. Any
/// other is masked by disabling MSI, and what it raises meanwhile is lost.
///
/// Its mask lies in configuration space: masking in an interrupt handler takes a [`Platform`] whose configuration space
/// can be reached there.
pub struct MsiStore<P: Platform> {
    function: Function<P>,
    offset: u16,
    control: u32,
    layout: Layout,
    masking: bool,
    origin: Origin,
}

impl<P: Platform> MsiStore<P> {
    fn at(&self, register: u16) -> u16 {
        self.offset.saturating_add(register)
    }

    /// The bits of the mask and pending registers that are ours: one for each message.
    fn messages(&self) -> u32 {
        u32::MAX >> 32u32.saturating_sub(self.origin.count).min(31)
    }

    fn is_enabled(&self) -> bool {
        self.function.read(self.offset) & Control::ENABLE.bits() != 0
    }

    fn set_enable(&self, enable: Control) {
        self.function.write(self.offset, self.control & !Control::ENABLE.bits() | enable.bits());
    }
}

impl<P: Platform> StoreEntry for MsiStore<P> {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        // Address and data are not written while MSI is enabled, masked or not.
        if self.is_enabled() {
            self.set_enable(Control::empty());
        }
        let [a0, a1, a2, a3, a4, a5, a6, a7] = pair.address.to_le_bytes();
        self.function.write(self.at(4), u32::from_le_bytes([a0, a1, a2, a3]));
        if let Some(high) = self.layout.address_high {
            self.function.write(self.at(high), u32::from_le_bytes([a4, a5, a6, a7]));
        }
        // The high half of the data's dword is reserved, or extended data that is not used: zero.
        self.function.write(self.at(self.layout.data), pair.data & 0xffff);
    }

    fn read(&self) -> Pair {
        let high = self.layout.address_high.map_or(0, |high| self.function.read(self.at(high)));
        let address = u64::from(high) << 32 | u64::from(self.function.read(self.at(4)));
        Pair { address, data: self.function.read(self.at(self.layout.data)) & 0xffff }
    }

    fn set_mask(&self, mask: Mask) {
        let register = self.at(self.layout.mask);
        match (mask, self.masking) {
            (Mask::Set, true) => self.function.write(register, self.messages()),
            (Mask::Set, false) => self.set_enable(Control::empty()),
            (Mask::Clear, masking) => {
                if !self.is_enabled() {
                    self.set_enable(Control::ENABLE);
                }
                if masking {
                    self.function.write(register, 0);
                }
            }
        }
    }

    fn mask(&self) -> Option<Mask> {
        let ours = self.messages();
        let masked = self.masking && self.function.read(self.at(self.layout.mask)) & ours == ours;
        Some(if masked || !self.is_enabled() { Mask::Set } else { Mask::Clear })
    }

    fn is_pending(&self) -> Option<bool> {
        self.masking.then(|| self.function.read(self.at(self.layout.pending)) & self.messages() != 0)
    }
}

impl<P: Platform> Drop for MsiStore<P> {
    fn drop(&mut self) {
        self.set_enable(Control::empty());
    }
}

impl<P: Platform> fmt::Debug for MsiStore<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsiStore").field("origin", &self.origin).finish_non_exhaustive()
    }
}
