//! What MAP, RETARGET, UNMAP and QUERY have in common: judging a record in the order of the contract.

use super::devices::Place;
use super::vm::Vm;
use crate::irte::{Irte, Origin, Target};
use pvir_abi::{Arch, EntryFlags, EntryRecord, EntryState, Features, Handle, Pair, Routing, Status, Store};

/// Most messages of an MSI capability (PCI Express Base Specification 6.0, section 7.7.1.2 "Message Control Register
/// for MSI").
const MOST_MESSAGES: u32 = 32;

/// The feature without which a store is not served; `None` for a store of a later version.
pub(super) fn feature_of(store: Store) -> Option<Features> {
    match store {
        Store::MSI => Some(Features::MSI),
        Store::MSIX => Some(Features::MSIX),
        Store::IMS => Some(Features::IMS),
        _ => None,
    }
}

/// Which fields of the record the operation takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// MAP: no handle; flags and routing.
    Routing,
    /// RETARGET: handle, flags and routing.
    HandleAndRouting,
    /// UNMAP: handle.
    Handle,
    /// QUERY: a handle or none; `arch` and `routing` are answers.
    Lookup,
}

impl Takes {
    fn routing(self) -> bool {
        matches!(self, Self::Routing | Self::HandleAndRouting)
    }
}

/// What a valid record says.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    pub(super) origin: Origin,
    /// Its device.
    pub(super) device: Place,
    /// Number of messages.
    pub(super) count: u32,
    /// `None`: parked, or an operation without routing.
    pub(super) target: Option<Target>,
}

/// Zeroes the answer fields, so that a record that fails says nothing but its status.
pub(super) fn clear_answer(record: &mut EntryRecord, takes: Takes) {
    record.address = 0;
    record.data = 0;
    record.state = 0;
    if takes == Takes::Lookup {
        record.arch = Arch(0);
        record.routing = Routing::default();
    }
}

/// Puts an IRTE into the record's answer fields.
pub(super) fn fill_answer(record: &mut EntryRecord, handle: Handle, irte: &Irte, mut state: EntryState) {
    state.set(EntryState::PARKED, irte.target.is_none());
    let Pair { address, data } = irte.pair;
    record.status = Status::OK;
    record.handle = handle;
    record.address = address;
    record.data = data;
    record.state = state.bits();
}

impl Vm {
    /// Validates a record up to, and without, what is mapped and what is left.
    pub(super) fn judge(&self, record: &EntryRecord, takes: Takes) -> Result<Judged, Status> {
        let parked = takes.routing() && record.flags & EntryFlags::PARKED.bits() != 0;
        let routed = takes.routing() && !parked;
        let arch_and_routing_zero = || record.arch == Arch(0) && record.routing == Routing::default();
        let untaken = (takes == Takes::Routing && record.handle != Handle::NONE)
            || (!routed && takes != Takes::Lookup && !arch_and_routing_zero())
            || (routed && record.routing.reserved != 0);
        if untaken {
            return Err(Status::RESERVED_NOT_ZERO);
        }
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::PARKED, takes.routing() && self.enabled().contains(Features::PARKING));
        if record.flags & !flags.bits() != 0 {
            return Err(Status::BAD_FLAGS);
        }
        let ((origin, device), count) = (self.judge_origin(record)?, record.count);
        self.judge_handle(record, takes, &origin)?;
        if !routed {
            return Ok(Judged { origin, device, count, target: None });
        }
        if record.arch == Arch::X86_APIC && record.routing.hint & !1 != 0 {
            return Err(Status::RESERVED_NOT_ZERO);
        }
        let target = self.policy.validate(record, self.enabled())?;
        Ok(Judged { origin, device, count, target: Some(target) })
    }

    fn judge_origin(&self, record: &EntryRecord) -> Result<(Origin, Place), Status> {
        let device = self.devices.find(record.device).ok_or(Status::NO_DEVICE)?;
        let attached = self.devices.at(device);
        let feature = feature_of(record.store).ok_or(Status::BAD_STORE)?;
        let entries = attached.capabilities.entries(record.store);
        let entries =
            entries.filter(|_| self.enabled().contains(feature)).ok_or(Status::STORE_UNSUPPORTED)?;
        if record.index >= entries {
            return Err(Status::BAD_INDEX);
        }
        let most = match record.store {
            Store::MSI if self.enabled().contains(Features::MSI_MULTI) => attached.capabilities.msi_messages,
            _ => 1,
        };
        if !record.count.is_power_of_two() || record.count > most.min(MOST_MESSAGES) {
            return Err(Status::BAD_MESSAGE_COUNT);
        }
        Ok((Origin::of(record), device))
    }

    fn judge_handle(&self, record: &EntryRecord, takes: Takes, origin: &Origin) -> Result<(), Status> {
        let optional = takes == Takes::Lookup && record.handle == Handle::NONE;
        if takes == Takes::Routing || optional {
            return Ok(());
        }
        let irte = self.irtes.get(record.handle).ok_or(Status::STALE_HANDLE)?;
        let same = irte.origin == *origin && irte.count() == record.count;
        if same { Ok(()) } else { Err(Status::HANDLE_MISMATCH) }
    }
}

/// Applies what became of each record: with `whole`, one failure aborts all the others.
///
/// Answers whether the call is aborted.
pub(super) fn abort_others(records: &mut [EntryRecord], whole: bool) -> bool {
    let aborted = whole && records.iter().any(|record| record.status != Status::OK);
    if aborted {
        for record in records.iter_mut().filter(|record| record.status == Status::OK) {
            record.status = Status::ABORTED;
        }
    }
    aborted
}
