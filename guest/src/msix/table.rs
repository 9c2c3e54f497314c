//! The MSI-X table of one device: it is found, mapped and masked, and MSI-X is enabled.
#![expect(unsafe_code, reason = "maps and unmaps device memory")]

use super::memory::{ENTRY_LEN, Memory};
use super::slot::MsixEntry;
use crate::claims::{Claims, MAX_ENTRIES};
use crate::pci::Function;
use crate::{Entry, Masked, Origin, PciError, Platform};
use core::fmt;
use core::ptr::NonNull;
use pci_types::CommandRegister;
use pvir_abi::DeviceId;

/// Capability id of MSI-X.
const MSIX_ID: u8 = 0x11;
/// Message control, in the high half of the capability's first dword: MSI-X Enable.
const ENABLE: u32 = 1 << 31;
/// Function Mask.
const FUNCTION_MASK: u32 = 1 << 30;

/// The MSI-X table of one device. MSI-X is enabled, and every entry is masked until its owner unmasks it.
///
/// There is at most one of these for a device: the device's MSI-X Enable bit tells. When it is dropped, every entry
/// is masked and MSI-X is disabled.
pub struct MsixTable<'p, P: Platform> {
    platform: &'p P,
    function: Function<'p, P::Config>,
    capability: u16,
    memory: Memory,
    claims: Claims,
}

impl<'p, P: Platform> MsixTable<'p, P> {
    /// Finds the MSI-X table of `device`, maps it, masks every entry by its own mask bit, and sets MSI-X Enable with
    /// Function Mask clear.
    ///
    /// Memory decoding of the device must be on. Function Mask is not used, because it does not act on the device
    /// while pvir is enabled (statement W4).
    ///
    /// # Errors
    /// Any [`PciError`] but [`PciError::MessageCount`]. [`PciError::InUse`] means that MSI-X is enabled already:
    /// somebody else has the table.
    pub fn open(platform: &'p P, device: DeviceId) -> Result<Self, PciError> {
        let function = Function::open(platform.config(), device)?;
        let capability = function.capability(MSIX_ID)?;
        let control = function.read(capability);
        if control & ENABLE != 0 {
            return Err(PciError::InUse { device });
        }
        if !function.command().contains(CommandRegister::MEMORY_ENABLE) {
            return Err(PciError::DecodeOff { device });
        }
        let entries = (control >> 16 & 0x7ff).saturating_add(1);
        let memory = Self::map(platform, &function, capability, entries)?;
        let this = Self { platform, function, capability, memory, claims: Claims::new() };
        // From here on dropping it undoes everything.
        if let Some(index) = (0..entries).find(|index| !this.memory.mask(*index)) {
            return Err(PciError::NotMasked { device, index });
        }
        function.disable_pin();
        function.write(capability, control & !FUNCTION_MASK | ENABLE);
        if function.read(capability) & (ENABLE | FUNCTION_MASK) == ENABLE {
            Ok(this)
        } else {
            Err(PciError::NotEnabled { device })
        }
    }

    /// The device whose table this is.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.function.device
    }

    /// Number of entries in the table, 1 to 2048.
    #[expect(clippy::len_without_is_empty, reason = "a table is never empty")]
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.memory.entries()
    }

    /// The name of entry `index`, as [`MapRequest`](crate::MapRequest) takes it.
    #[must_use]
    pub const fn origin(&self, index: u32) -> Origin {
        Origin::msix(self.device(), index)
    }

    /// Takes possession of entry `index`, masked. `None` if the entry has an owner, does not exist, or does not stay
    /// masked.
    #[must_use]
    pub fn claim(&self, index: u32) -> Option<Entry<MsixEntry<'_>, Masked>> {
        let entry = MsixEntry::take(&self.memory, &self.claims, self.origin(index))?;
        Entry::claim(entry).ok()
    }

    fn map(
        platform: &P,
        function: &Function<'_, P::Config>,
        capability: u16,
        entries: u32,
    ) -> Result<Memory, PciError> {
        let (table_len, pending_len) = lengths(entries);
        let table = map_part(platform, function, capability.saturating_add(4), table_len)?;
        let pending = match map_part(platform, function, capability.saturating_add(8), pending_len) {
            Ok(pending) => pending,
            Err(error) => {
                // SAFETY: mapped a moment ago with this length, and used by nobody.
                unsafe { platform.unmap_mmio(table, table_len) };
                return Err(error);
            }
        };
        // SAFETY: the platform promises that both pointers are valid for the lengths that were asked for, which are
        // those of `entries` entries and bits, until they are unmapped when the table is dropped.
        Ok(unsafe { Memory::new(table, pending, entries) })
    }
}

/// Bytes of the table and of the pending bits, which come in words of 64.
fn lengths(entries: u32) -> (usize, usize) {
    let entries = entries.min(MAX_ENTRIES) as usize;
    (entries.saturating_mul(ENTRY_LEN), entries.div_ceil(64).saturating_mul(8))
}

/// Maps what the dword at `register` points to: BAR in bits 2:0, offset in the others.
fn map_part<P: Platform>(
    platform: &P,
    function: &Function<'_, P::Config>,
    register: u16,
    len: usize,
) -> Result<NonNull<u32>, PciError> {
    let pointer = function.read(register);
    let [low, ..] = pointer.to_le_bytes();
    let address = function.in_bar(low & 7, pointer & !7, len)?;
    platform.map_mmio(address, len).ok_or(PciError::NotMapped {
        device: function.device,
        address: address.as_u64(),
        len,
    })
}

impl<P: Platform> Drop for MsixTable<'_, P> {
    fn drop(&mut self) {
        for index in 0..self.memory.entries() {
            self.memory.mask(index);
        }
        let control = self.function.read(self.capability);
        self.function.write(self.capability, control & !ENABLE);
        let (table, pending) = self.memory.pointers();
        let (table_len, pending_len) = lengths(self.memory.entries());
        // SAFETY: mapped by `open` with this length; entries borrow the table, so that none is left.
        unsafe { self.platform.unmap_mmio(table, table_len) };
        // SAFETY: as above.
        unsafe { self.platform.unmap_mmio(pending, pending_len) };
    }
}

impl<P: Platform> fmt::Debug for MsixTable<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixTable")
            .field("device", &self.device())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
