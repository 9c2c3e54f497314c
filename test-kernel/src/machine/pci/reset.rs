//! Function level reset (PCI Express Base Specification 6.0, section 6.6.2), by either of the capabilities that have it.

#![expect(unsafe_code, reason = "resets a function, and writes its header back")]

use super::Function;
use super::config::{PortAccess, Width, capability, read_as, write_as};
use crate::machine::cpu::time::wait_until;
use pci_types::{ConfigRegionAccess, PciAddress};

const PCI_EXPRESS: u8 = 0x10;
const ADVANCED_FEATURES: u8 = 0x13;
const COMMAND: u16 = 0x04;
const BARS: u16 = 0x10;
/// Bits of a BAR's register that are no address.
const FLAGS: u32 = 0xf;
const PORT_FLAGS: u32 = 3;
/// How long software leaves a function alone that it has reset: section 6.6.2.
pub(crate) const RECOVERY_MS: u64 = 100;
/// How long a function that still does not answer is waited for.
const PATIENCE_MS: u64 = 5_000;

/// The register of a function that resets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResetRegister {
    address: PciAddress,
    offset: u16,
    /// The byte to write, in its own width; what else is in the register is kept.
    bit: u8,
}

/// What a function was found to be after its reset, before anything was written back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AfterReset {
    /// Whether it answers at all.
    pub(crate) answers: bool,
    pub(crate) command: u16,
    /// The addresses of its BARs, or'ed together.
    pub(crate) addresses: u32,
}

impl ResetRegister {
    /// Of a function that offers a reset.
    pub(crate) fn of(function: &Function) -> Option<Self> {
        Self::at(function.address)
    }

    /// Of the function at this address, if it offers a reset.
    pub(crate) fn at(address: PciAddress) -> Option<Self> {
        let byte = |offset| read_as(address, offset, Width::One);
        // Device Capabilities bit 28, and Device Control bit 15 (sections 7.5.3.3 and 7.5.3.4).
        let express = capability(address, PCI_EXPRESS).filter(|at| byte(at + 7) & 1 << 4 != 0);
        // AF Capabilities bit 1, and AF Control bit 0 ("Advanced Capabilities for Conventional PCI", section 6.8.3).
        let advanced = || capability(address, ADVANCED_FEATURES).filter(|at| byte(at + 3) & 2 != 0);
        match express {
            Some(at) => Some(Self { address, offset: at + 9, bit: 1 << 7 }),
            None => advanced().map(|at| Self { address, offset: at + 4, bit: 1 }),
        }
    }

    /// Resets the function, and does no more.
    pub(crate) fn begin(&self) {
        let kept = read_as(self.address, self.offset, Width::One);
        // SAFETY: the function is under test, and whoever uses it knows that its registers are others afterwards.
        unsafe { write_as(self.address, self.offset, Width::One, kept | u32::from(self.bit)) };
    }

    /// Whether a write of so many bytes resets the function.
    pub(crate) fn is_begun_by(&self, offset: u16, width: Width, value: u32) -> bool {
        let bytes = match width {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
        };
        let at = self.offset.checked_sub(offset).map(usize::from).filter(|at| *at < bytes);
        let byte = at.and_then(|at| value.to_le_bytes().get(at).copied());
        byte.is_some_and(|byte| byte & self.bit != 0)
    }

    /// Resets the function, leaves it alone for so long, and gives it COMMAND and BARs as they were.
    pub(crate) fn reset(&self, recovery_ms: u64) -> AfterReset {
        let word = |offset| read_as(self.address, offset, Width::Four);
        let header = Header::of(self.address);
        self.begin();
        wait_until(recovery_ms, || false);
        let answers = wait_until(PATIENCE_MS, || word(0) != u32::MAX);
        let addresses = (0..header.bars.len()).map(|bar| address_bits(word(bar_offset(bar))));
        let after = AfterReset {
            answers,
            command: u16::try_from(read_as(self.address, COMMAND, Width::Two)).unwrap_or(u16::MAX),
            addresses: addresses.fold(0, |all, address| all | address),
        };
        header.restore();
        after
    }
}

/// What a reset takes of a function's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    address: PciAddress,
    command: u32,
    bars: [u32; 6],
}

impl Header {
    /// As it is now.
    pub(crate) fn of(address: PciAddress) -> Self {
        let command = read_as(address, COMMAND, Width::Two);
        let bars = core::array::from_fn(|bar| read_as(address, bar_offset(bar), Width::Four));
        Self { address, command, bars }
    }

    /// Writes it back.
    pub(crate) fn restore(&self) {
        for (bar, value) in self.bars.iter().enumerate() {
            // SAFETY: the addresses that the function had, with decode off.
            unsafe { PortAccess.write(self.address, bar_offset(bar), *value) };
        }
        // SAFETY: decodes and masters the bus as before.
        unsafe { write_as(self.address, COMMAND, Width::Two, self.command) };
    }
}

fn bar_offset(bar: usize) -> u16 {
    u16::try_from(bar).map_or(BARS, |bar| BARS + 4 * bar)
}

/// The bits of a BAR's register that are an address; of the upper half of one, but for its lowest bits, too.
fn address_bits(register: u32) -> u32 {
    register & !if register & 1 != 0 { PORT_FLAGS } else { FLAGS }
}
