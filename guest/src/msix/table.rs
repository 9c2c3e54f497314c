//! The MSI-X table of one device: it is found, mapped and masked, and MSI-X is enabled.

use super::mapping;
use super::share::{ENABLE, Share};
use super::slot::MsixEntry;
use crate::claims::Claims;
use crate::pci::Function;
use crate::{Entry, Masked, Origin, PciError, Platform};
use core::fmt;
use pci_types::CommandRegister;
use pvir_abi::DeviceId;

/// Capability id of MSI-X.
const MSIX_ID: u8 = 0x11;
/// Function Mask: bit 14 of message control.
const FUNCTION_MASK: u32 = 1 << 30;

/// The MSI-X table of one device. MSI-X is enabled, and every entry is masked until its owner unmasks it.
///
/// There is at most one of these for a device: the device's MSI-X Enable bit tells. It borrows nothing, and neither do
/// its entries: a driver owns them side by side, and drops them in any order. With the last of them MSI-X is disabled.
///
/// ```
/// use pvir_guest::{Entry, Live, MsixEntry, MsixTable, Platform};
///
/// struct Nic<K: Platform> {
///     table: MsixTable<K>,
///     receive: Entry<MsixEntry<K>, Live>,
/// }
/// ```
pub struct MsixTable<P: Platform> {
    share: Share<P>,
}

impl<P: Platform + Clone> MsixTable<P> {
    /// Finds the MSI-X table of `device`, maps it, masks every entry by its own mask bit, and sets MSI-X Enable with
    /// Function Mask clear.
    ///
    /// Memory decoding and Bus Master of the device must be on: without the one the table cannot be reached, without
    /// the other the device sends nothing. Function Mask is not used, because it does not act on the device while pvir
    /// is enabled (statement W4).
    ///
    /// # Errors
    /// Any [`PciError`] but [`PciError::MessageCount`]. [`PciError::InUse`] means that MSI-X is enabled already:
    /// somebody else has the table.
    pub fn open(platform: P, device: DeviceId) -> Result<Self, PciError> {
        let function = Function::open(platform, device)?;
        let capability = function.capability(MSIX_ID)?;
        let control = function.read(capability);
        if control & ENABLE != 0 {
            return Err(PciError::InUse { device });
        }
        if !function.command().contains(CommandRegister::MEMORY_ENABLE) {
            return Err(PciError::DecodeOff { device });
        }
        function.sends()?;
        let entries = (control >> 16 & 0x7ff).saturating_add(1);
        let claims = Claims::new(entries).ok_or(PciError::TooManyEntries { device, entries })?;
        let memory = match mapping::map(&function, capability, entries) {
            Ok(memory) => memory,
            Err(error) => {
                claims.free();
                return Err(error);
            }
        };
        let this = Self { share: Share { function, capability, memory, claims } };
        // From here on dropping it undoes everything.
        let Share { function, memory, .. } = &this.share;
        if let Some(index) = (0..entries).find(|index| !memory.mask(*index)) {
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

    /// Takes possession of entry `index`, masked. `None` if the entry has an owner, does not exist, or does not stay
    /// masked.
    #[must_use]
    pub fn claim(&self, index: u32) -> Option<Entry<MsixEntry<P>, Masked>> {
        Entry::claim(MsixEntry::take(&self.share, index)?).ok()
    }
}

impl<P: Platform> MsixTable<P> {
    /// The device whose table this is.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.share.function.device
    }

    /// Number of entries in the table, 1 to 2048.
    #[expect(clippy::len_without_is_empty, reason = "a table is never empty")]
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.share.memory.entries()
    }

    /// The name of entry `index`, as [`MapRequest`](crate::MapRequest) takes it.
    #[must_use]
    pub const fn origin(&self, index: u32) -> Origin {
        Origin::msix(self.device(), index)
    }
}

impl<P: Platform> fmt::Debug for MsixTable<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixTable")
            .field("device", &self.device())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
