//! What the fake host validates in entry records, in the order of the contract.

use super::host::{FakeDevice, FakeIrte, Key, State};
use pvir_abi::{
    Arch, DeliveryMode, DestinationMode, DeviceFlags, EntryFlags, Features, Routing, Status, Store,
};

/// Members of a cluster in logical mode (statement L2).
const CLUSTER: u32 = 16;
/// What is a broadcast in physical mode, unless some vCPU has this id.
const XAPIC_BROADCAST: u32 = 0xff;

pub(super) fn has(state: &State, feature: Features) -> bool {
    state.enabled.as_ref().is_some_and(|enabled| enabled.features.contains(feature))
}

pub(super) fn key(record: &pvir_abi::EntryRecord) -> Key {
    (record.device, record.store.0, record.index)
}

/// Device, store, index and count.
pub(super) fn entry<'s>(state: &'s State, record: &pvir_abi::EntryRecord) -> Result<&'s FakeDevice, Status> {
    assert_eq!(
        (record.address, record.data, record.state),
        (0, 0, 0),
        "the driver sends zeros in out fields"
    );
    assert_eq!(record.routing.reserved, 0, "statement B5");
    let known = EntryFlags::from_bits(record.flags).expect("BAD_FLAGS: the driver knows one flag");
    if known.contains(EntryFlags::PARKED) && !has(state, Features::PARKING) {
        return Err(Status::BAD_FLAGS);
    }
    let device = state.devices.iter().find(|device| device.id == record.device).ok_or(Status::NO_DEVICE)?;
    if let Some(status) = state.away.get(&record.device) {
        return Err(*status);
    }
    if has(state, Features::ATTACH) && !state.attached.contains(&record.device) {
        return Err(Status::NOT_ATTACHED);
    }
    let (feature, entries, messages) = match record.store {
        Store::MSI => (Features::MSI, u32::from(device.msi_messages > 0), device.msi_messages),
        Store::MSIX => (Features::MSIX, device.msix_entries, 1),
        Store::IMS => (Features::IMS, device.ims_entries, 1),
        _ => return Err(Status::BAD_STORE),
    };
    if entries == 0 || !has(state, feature) {
        return Err(Status::STORE_UNSUPPORTED);
    }
    if record.index >= entries {
        return Err(Status::BAD_INDEX);
    }
    let most = if has(state, Features::MSI_MULTI) { messages } else { 1 };
    if !record.count.is_power_of_two() || record.count > most {
        return Err(Status::BAD_MESSAGE_COUNT);
    }
    Ok(device)
}

/// The handle names a live IRTE of this entry.
pub(super) fn handle(state: &State, record: &pvir_abi::EntryRecord) -> Result<FakeIrte, Status> {
    let (of, held) =
        state.irtes.iter().find(|(_, held)| held.handle == record.handle).ok_or(Status::STALE_HANDLE)?;
    if *of == key(record) && held.count == record.count { Ok(*held) } else { Err(Status::HANDLE_MISMATCH) }
}

/// Where it goes; none for a parked entry.
pub(super) fn routing(state: &State, record: &pvir_abi::EntryRecord) -> Result<Option<Routing>, Status> {
    let routing = record.routing;
    if record.flags == EntryFlags::PARKED.bits() {
        assert_eq!(
            (record.arch, routing),
            (Arch(0), Routing::default()),
            "statement B5: a parked entry has no routing"
        );
        return Ok(None);
    }
    assert_eq!(record.arch, Arch::X86_APIC, "BAD_ARCH");
    assert_eq!(routing.hint & !1, 0, "statement B5: the other bits of the hint are zero");
    if routing.hint != 0 && !has(state, Features::REDIRECTION_HINT) {
        return Err(Status::BAD_DESTINATION_MODE);
    }
    let lowest = match DeliveryMode(routing.delivery_mode) {
        DeliveryMode::FIXED => false,
        DeliveryMode::LOWEST_PRIORITY if has(state, Features::LOWEST_PRIORITY) => true,
        _ => return Err(Status::BAD_DELIVERY_MODE),
    };
    let logical = match DestinationMode(routing.destination_mode) {
        DestinationMode::PHYSICAL => false,
        DestinationMode::LOGICAL if has(state, Features::LOGICAL_DESTINATION) => true,
        _ => return Err(Status::BAD_DESTINATION_MODE),
    };
    if routing.vector < pvir_abi::FIRST_DEVICE_VECTOR || u32::from(routing.vector) % record.count != 0 {
        return Err(Status::BAD_VECTOR);
    }
    let to = routing.destination;
    if to == u32::MAX || (!logical && to == XAPIC_BROADCAST && state.max_apic_id < to) {
        return Err(Status::BROADCAST);
    }
    match (named(state, to, logical), lowest || routing.hint != 0) {
        (0, _) => Err(Status::BAD_DESTINATION),
        (1, _) | (_, true) => Ok(Some(routing)),
        _ => Err(Status::AMBIGUOUS_DESTINATION),
    }
}

/// How many vCPUs a destination names (statements L1 and L2). Here those with the ids 0 to the highest exist.
fn named(state: &State, to: u32, logical: bool) -> usize {
    let is_named = |id: &u32| match logical {
        true => to >> 16 == id / CLUSTER && to >> (id % CLUSTER) & 1 != 0,
        false => *id == to,
    };
    (0..=state.max_apic_id).filter(is_named).count()
}

/// The entry of the other store that shares its interrupt with this one (statement M11), where one is so made.
pub(super) fn backing(device: &FakeDevice, record: &pvir_abi::EntryRecord) -> Option<Key> {
    if device.flags.contains(DeviceFlags::EMULATED) {
        return None;
    }
    let other = match record.store {
        Store::MSIX => Store::IMS,
        Store::IMS => Store::MSIX,
        _ => return None,
    };
    let index = device.msix_entries.checked_sub(1 + record.index)?;
    Some((record.device, other.0, index))
}
