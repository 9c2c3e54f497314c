//! A device that the guest has not attached: it goes on with trapped messages, through every save.

use super::Failed;
use crate::harness::compat;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::cpu::{self};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{Function, device_id};
use crate::remapping::Session;
use pvir_guest::EntryError;
use pvir_guest::abi::{DeviceFlags, DeviceId};

/// Of an entry that is live, and of one that is masked while the machine is saved.
const LIVE: (u16, u8) = (0, 0x68);
const PENDING: (u16, u8) = (1, 0x69);

pub(super) struct Unattached {
    id: DeviceId,
    device: Device,
    table: RawMsixTable,
}

impl Unattached {
    pub(super) fn open(function: &Function) -> Option<Self> {
        let id = device_id(function.address)?;
        let mut device = devices::probe(function).ok()??;
        device.init();
        let table = RawMsixTable::open_masked(function)?;
        table.set_capability(true, false);
        let apic_id = cpu::by_index(0).map_or(0, |cpu| cpu.apic_id);
        for (index, vector) in [LIVE, PENDING] {
            compat::program(&table, index, compat::message(apic_id, vector)?);
        }
        let mut unattached = Self { id, device, table };
        unattached.hold();
        Some(unattached)
    }

    /// Has an interrupt pending.
    fn hold(&mut self) {
        self.table.set_masked(PENDING.0.into(), true);
        self.device.raise(PENDING.0);
    }

    /// After a restore: what is live comes, and what was pending comes once when it is unmasked.
    pub(super) fn goes_on(&mut self, session: &Session, round: u64) -> Result<(), Failed> {
        let failed = |what| Err(Failed::Unattached(round, what));
        let mut info = [Err(EntryError::NotAsked)];
        let attached = match (session.device_info(&[self.id], &mut info), info) {
            (Ok(_), [Ok(info)]) => info.flags.contains(DeviceFlags::ATTACHED),
            _ => return failed("does not answer"),
        };
        if attached {
            return failed("is attached");
        }
        let before = [LIVE, PENDING].map(|(_, vector)| interrupts::total(vector));
        let came = || [LIVE, PENDING].map(|(_, vector)| interrupts::total(vector));
        self.device.raise(LIVE.0);
        if !wait_until(PATIENCE_MS, || came() == [before[0] + 1, before[1]]) {
            return failed("has lost its message, or its mask");
        }
        if !self.table.is_pending(PENDING.0.into()) {
            return failed("has nothing pending");
        }
        self.table.set_masked(PENDING.0.into(), false);
        if !wait_until(PATIENCE_MS, || came() == [before[0] + 1, before[1] + 1]) {
            return failed("has lost what was pending");
        }
        self.hold();
        Ok(())
    }
}
