//! The validation of an entry record, in the order of the contract, for MAP, RETARGET, UNMAP and QUERY.

use super::devices::DevicePlace;
use super::vm::Vm;
use crate::irte::{Irte, Origin, Target};
use pvir_abi::{
    Arch, CallFlags, EntryFlags, EntryRecord, EntryState, Features, Handle, Pair, Routing, Status, Store,
};

/// Maximum number of messages of an MSI capability (PCI Express Base Specification 6.0, section 7.7.1.2 "Message
/// Control Register for MSI").
const MAX_MESSAGES: u32 = 32;

/// The feature without which a store is not served; `None` for a store of a later version.
pub(super) fn feature_of(store: Store) -> Option<Features> {
    match store {
        Store::MSI => Some(Features::MSI),
        Store::MSIX => Some(Features::MSIX),
        Store::IMS => Some(Features::IMS),
        _ => None,
    }
}

/// Which fields of the record the operation inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InputFields {
    /// MAP: no handle; flags and routing.
    Routing,
    /// RETARGET: handle, flags and routing.
    HandleAndRouting,
    /// UNMAP: handle.
    Handle,
    /// QUERY: a handle or none; `arch` and `routing` are answers.
    Lookup,
}

impl InputFields {
    fn routing(self) -> bool {
        matches!(self, Self::Routing | Self::HandleAndRouting)
    }
}

/// The contents of a valid record.
#[derive(Clone, Copy)]
pub(super) struct ValidRecord {
    pub(super) origin: Origin,
    /// The index of its device.
    pub(super) device: DevicePlace,
    /// Number of messages.
    pub(super) count: u32,
    /// The target; `None` for a parked entry, or for an operation without routing.
    pub(super) target: Option<Target>,
}

/// Zeroes the answer fields, so that a record that fails says nothing but its status.
pub(super) fn clear_answer(record: &mut EntryRecord, inputs: InputFields) {
    record.address = 0;
    record.data = 0;
    record.state = 0;
    if inputs == InputFields::Lookup {
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
    // Every caller has its own constant for `inputs`: most of this is decided when it is compiled.
    #[inline(always)]
    pub(super) fn validate(&self, record: &EntryRecord, inputs: InputFields) -> Result<ValidRecord, Status> {
        let enabled = self.enabled();
        let parked = inputs.routing() && record.flags & EntryFlags::PARKED.bits() != 0;
        let routed = inputs.routing() && !parked;
        let arch_and_routing_zero = || record.arch == Arch(0) && record.routing == Routing::default();
        let untaken = (inputs == InputFields::Routing && record.handle != Handle::NONE)
            || (!routed && inputs != InputFields::Lookup && !arch_and_routing_zero())
            || (routed && record.routing.reserved != 0);
        if untaken {
            return Err(Status::RESERVED_NOT_ZERO);
        }
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::PARKED, inputs.routing() && enabled.contains(Features::PARKING));
        if record.flags & !flags.bits() != 0 {
            return Err(Status::BAD_FLAGS);
        }
        let ((origin, device), count) = (self.validate_origin(record, enabled)?, record.count);
        self.validate_handle(record, inputs, &origin)?;
        if !routed {
            return Ok(ValidRecord { origin, device, count, target: None });
        }
        if record.arch == Arch::X86_APIC && record.routing.hint & !1 != 0 {
            return Err(Status::RESERVED_NOT_ZERO);
        }
        let target = self.policy.validate(record, enabled)?;
        Ok(ValidRecord { origin, device, count, target: Some(target) })
    }

    #[inline]
    fn validate_origin(
        &self,
        record: &EntryRecord,
        enabled: Features,
    ) -> Result<(Origin, DevicePlace), Status> {
        let device = self.devices.find(record.device).ok_or_else(|| self.absent(record.device))?;
        let attached = self.devices.at(device);
        if attached.unseen {
            return Err(self.absent(record.device));
        }
        if attached.cut_off {
            return Err(Status::DEVICE_CUT_OFF);
        }
        if !attached.open && enabled.contains(Features::ATTACH) {
            return Err(Status::NOT_ATTACHED);
        }
        let feature = feature_of(record.store).ok_or(Status::BAD_STORE)?;
        let entries = attached.capabilities.entries(record.store);
        let entries = entries.filter(|_| enabled.contains(feature)).ok_or(Status::STORE_UNSUPPORTED)?;
        if record.index >= entries {
            return Err(Status::BAD_INDEX);
        }
        let max = match record.store {
            Store::MSI if enabled.contains(Features::MSI_MULTI) => attached.capabilities.msi_messages,
            _ => 1,
        };
        if !record.count.is_power_of_two() || record.count > max.min(MAX_MESSAGES) {
            return Err(Status::BAD_MESSAGE_COUNT);
        }
        Ok((Origin::of(record), device))
    }

    fn validate_handle(
        &self,
        record: &EntryRecord,
        inputs: InputFields,
        origin: &Origin,
    ) -> Result<(), Status> {
        let optional = inputs == InputFields::Lookup && record.handle == Handle::NONE;
        if inputs == InputFields::Routing || optional {
            return Ok(());
        }
        let irte = self.irtes.get(record.handle).ok_or(Status::STALE_HANDLE)?;
        let same = irte.origin == *origin && irte.count() == record.count;
        if same { Ok(()) } else { Err(Status::HANDLE_MISMATCH) }
    }
}

/// Whether one record's failure affects the other records of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BatchMode {
    /// Each record succeeds or fails by itself.
    Independent,
    /// If one record fails, none is carried out.
    AllOrNothing,
}

impl BatchMode {
    pub(super) fn of(flags: CallFlags) -> Self {
        if flags.contains(CallFlags::ALL_OR_NOTHING) { Self::AllOrNothing } else { Self::Independent }
    }
}

/// Applies what became of each record: one failure aborts all the others, if the call is all or nothing.
///
/// Answers whether the call is aborted.
pub(super) fn abort_others(records: &mut [EntryRecord], mode: BatchMode) -> bool {
    let aborted = mode == BatchMode::AllOrNothing && records.iter().any(|record| record.status != Status::OK);
    if aborted {
        for record in records.iter_mut().filter(|record| record.status == Status::OK) {
            record.status = Status::ABORTED;
        }
    }
    aborted
}
