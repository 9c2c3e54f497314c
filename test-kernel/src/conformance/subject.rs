//! A device under test: one whose interrupts software can raise.

use super::verdict::{Finding, Verdict};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::pci::Function;
use crate::machine::pci::config::{PortAccess, set_multiple_messages};
use crate::machine::pci::device_id;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::reset::{AfterReset, RECOVERY_MS, ResetRegister};
use pvir_guest::abi::{DeviceId, EntryRecord, EventReason, Pair, Store};

/// Where its messages are.
pub(super) enum Messages {
    Msix(RawMsixTable),
    Msi,
}

/// One device.
pub(super) struct Subject {
    pub(super) id: DeviceId,
    pub(super) name: &'static str,
    function: Function,
    /// What raises its interrupts; none for a device that this kernel does not know.
    driver: Option<Device>,
    pub(super) messages: Messages,
    /// Entries that the suite uses: 0 to this, less one. The device has them, its driver can raise them, and the host
    /// lets so many be mapped at once.
    pub(super) entries: u32,
}

/// Nothing can be raised.
const NO_DRIVER: Finding = Finding::CannotShow("no device here has such a store and a driver");

impl Subject {
    /// A device that has MSI-X or MSI; its registers are mapped if this kernel can drive it.
    pub(super) fn open(function: &Function) -> Option<Self> {
        let id = device_id(function.address)?;
        let name = devices::name(function);
        let driver = name.and_then(|_| devices::probe(function).ok().flatten());
        let driver = driver.map(|mut driver| {
            driver.init();
            driver
        });
        let messages = match RawMsixTable::open(function) {
            Some(table) => Messages::Msix(table),
            None if driver.is_some() || function.msi().is_some() => Messages::Msi,
            None => return None,
        };
        let limit = match &messages {
            Messages::Msix(table) => table.len().into(),
            Messages::Msi => 1,
        };
        let entries = driver.as_ref().map_or(limit, |driver| u32::from(driver.vectors()).min(limit));
        Some(Self { id, name: name.unwrap_or("unknown"), function: *function, driver, messages, entries })
    }

    /// Whether it offers a function level reset.
    pub(super) fn can_be_reset(&self) -> bool {
        ResetRegister::of(&self.function).is_some()
    }

    /// Resets it, as software must: it is left alone for a while, gets its BARs and COMMAND again, and its driver begins
    /// anew. None if it offers no reset.
    pub(super) fn reset(&mut self) -> Option<AfterReset> {
        let after = ResetRegister::of(&self.function)?.reset(RECOVERY_MS);
        self.driver.iter_mut().for_each(Trigger::init);
        Some(after)
    }

    /// Whether its interrupts can be raised.
    pub(super) fn is_driven(&self) -> bool {
        self.driver.is_some()
    }

    /// The device's MSI-X table, which must have so many entries.
    pub(super) fn table_of(&self, entries: u16) -> Result<&RawMsixTable, Finding> {
        match self.table() {
            None => Err(Finding::CannotShow("no device here has MSI-X")),
            Some(table) if table.len() < entries => {
                Err(Finding::CannotShow("no device here has so many MSI-X entries"))
            }
            Some(table) => Ok(table),
        }
    }

    /// The store that holds the device's messages.
    pub(super) fn store(&self) -> Store {
        match self.messages {
            Messages::Msix(_) => Store::MSIX,
            Messages::Msi => Store::MSI,
        }
    }

    /// The device's MSI-X table, if it has one.
    pub(super) fn table(&self) -> Option<&RawMsixTable> {
        match &self.messages {
            Messages::Msix(table) => Some(table),
            Messages::Msi => None,
        }
    }

    /// A record that names one of its entries.
    pub(super) fn entry(&self, index: u32) -> EntryRecord {
        EntryRecord::query(self.id, self.store(), index)
    }

    /// Puts the pair where the device takes it, and lets it be sent.
    pub(super) fn program(&self, index: u32, pair: Pair) {
        match &self.messages {
            Messages::Msix(table) => {
                table.set_masked_at_once(index, true);
                table.set_pair(index, pair);
                table.set_masked_at_once(index, false);
            }
            Messages::Msi => self.program_msi(pair, 1),
        }
    }

    /// Switches MSI on with this many messages.
    pub(super) fn program_msi(&self, pair: Pair, messages: u32) {
        let Some(msi) = self.function.msi() else { return };
        msi.set_enabled(false, PortAccess);
        msi.set_message_info(pair.address, pair.data, PortAccess);
        set_multiple_messages(self.function.address, messages.trailing_zeros());
        msi.set_enabled(true, PortAccess);
    }

    /// Whether MSI is switched on.
    pub(super) fn has_msi_enabled(&self) -> bool {
        self.function.msi().is_some_and(|msi| msi.is_enabled(PortAccess))
    }

    /// Whether the device shows no MSI capability, or one that cannot be switched on.
    pub(super) fn has_no_live_msi(&self) -> bool {
        let enabled = || self.function.msi().is_some_and(|msi| msi.is_enabled(PortAccess));
        if let Some(msi) = self.function.msi() {
            msi.set_enabled(true, PortAccess);
        }
        let live = enabled();
        if let Some(msi) = self.function.msi() {
            msi.set_enabled(false, PortAccess);
        }
        !live
    }

    /// Nothing is sent any more.
    pub(super) fn silence(&mut self) {
        match &self.messages {
            Messages::Msix(table) => table.mask_all(),
            Messages::Msi => {
                if let Some(msi) = self.function.msi() {
                    msi.set_enabled(false, PortAccess);
                }
            }
        }
        (0..self.entries).for_each(|index| self.acknowledge(index));
    }

    /// Raises one interrupt.
    pub(super) fn raise(&mut self, index: u32) -> Verdict {
        let driver = self.driver.as_mut().ok_or(NO_DRIVER)?;
        driver.raise(u16::try_from(index).unwrap_or(u16::MAX));
        Ok(())
    }

    /// Clears its cause.
    pub(super) fn acknowledge(&mut self, index: u32) {
        if let Some(driver) = &mut self.driver {
            driver.acknowledge(u16::try_from(index).unwrap_or(u16::MAX));
        }
    }

    /// The events that the host raises for the device when a register asks for them, a bit for each reason.
    pub(super) fn events(&self) -> u32 {
        self.driver.as_ref().map_or(0, Trigger::events)
    }

    /// Has the host raise such an event, or with NONE let the device go on; nothing where no register asks for it.
    pub(super) fn demand(&mut self, reason: EventReason) {
        if let Some(driver) = self.driver.as_mut().filter(|driver| driver.events() != 0) {
            driver.demand_event(reason.0);
        }
    }

    /// Whether one raise may be two messages.
    pub(super) fn repeats(&self) -> bool {
        self.driver.as_ref().is_some_and(Trigger::repeats)
    }
}
