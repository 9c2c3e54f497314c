//! The fake host's answers, written from the specification, on the bytes of a request block.

use super::host::{Enabled, FakeDevice, FakeIrte, State};
use super::std::sync::Arc;
use super::std::vec::Vec;
use super::validate;
use pvir_abi::{
    Arch, AttachRecord, CallFlags, DeviceFlags, DeviceId, DeviceRecord, EnableRecord, EntryRecord,
    EntryState, Features, FeaturesRecord, Handle, Header, Operation, Pair, REQUEST_MAGIC, Refusal, Routing,
    Status, Store, Stores, Version,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Carries out the call in `bytes`, a header and its records. Answers with the status of the call.
pub(super) fn call(state: &mut State, bytes: &mut [u8]) -> Status {
    let (head, rest) = bytes.split_at_mut(64);
    let mut header = Header::read_from_bytes(head).unwrap();
    let sent = Header { status: Status::PENDING, done: 0, epoch: 0, ..header };
    assert_eq!(header, sent, "section 3: a request has status PENDING, and nothing in the out fields");
    assert_eq!(
        (header.magic, header.version, header.reserved),
        (REQUEST_MAGIC, Version::V1, [0; 4]),
        "statement B5"
    );
    for record in rest.chunks(64) {
        assert_eq!(record[4..8], [0xff; 4], "section 3: a record has status PENDING before the call");
    }
    header.status = if header.operation.takes_entries() {
        entries(state, &header, rest)
    } else {
        assert_eq!(header.flags, 0, "statement O6");
        match header.operation {
            Operation::FEATURES => features(state, rest),
            Operation::ENABLE => enable(state, rest),
            Operation::DISABLE => disable(state),
            Operation::DEVICE_INFO => device_info(state, rest),
            Operation::ATTACH | Operation::DETACH => turn(state, header.operation, rest),
            other => panic!("BAD_OPERATION: {other:?}"),
        }
    };
    let carried = [Status::OK, Status::PARTIAL].contains(&header.status);
    let done = rest.chunks(64).filter(|record| record[4..8] == [0; 4]).count();
    header.done = if carried { u32::try_from(done).unwrap() } else { 0 };
    header.epoch = if state.enabled.is_some() { state.epoch } else { 0 };
    head.copy_from_slice(header.as_bytes());
    header.status
}

fn features(state: &State, rest: &mut [u8]) -> Status {
    let asked = FeaturesRecord::read_from_bytes(rest).unwrap();
    assert_eq!(asked, FeaturesRecord::request(), "statement B5");
    let d = state.discovery;
    let answer = FeaturesRecord {
        status: Status::OK,
        oldest: d.oldest,
        newest: d.newest,
        max_records: d.max_records,
        features: d.features.bits(),
        enabled: state.enabled.as_ref().map_or(0, |enabled| enabled.features.bits()),
        max_apic_id: state.max_apic_id,
        max_irtes: 4096,
        irtes: state.irtes.values().map(|held| held.count).sum(),
        devices: u32::try_from(state.devices.len()).unwrap(),
        conduits: d.conduits.bits(),
        ..asked
    };
    rest.copy_from_slice(answer.as_bytes());
    Status::OK
}

fn enable(state: &mut State, rest: &mut [u8]) -> Status {
    let mut record = EnableRecord::read_from_bytes(rest).unwrap();
    let features = Features::from_bits_retain(record.features);
    assert_eq!((record.reserved0, record.reserved1), (0, [0; 3]), "statement B5");
    assert_eq!(features.contains(Features::EPOCH), record.event_area.0 != 0, "statement E2");
    assert_eq!(features.contains(Features::NOTIFY), record.notify_vector != 0, "statement E2");
    assert!(state.discovery.features.contains(features), "statement E1");
    record.status = if state.enabled.is_some() {
        Status::ALREADY_ENABLED
    } else if let Some((reason, device)) = state.refusal {
        (record.refusal, record.device) = (reason, device);
        Status::REFUSED
    } else {
        state.epoch += 1;
        let area = features.contains(Features::EPOCH).then_some(record.event_area.0);
        state.enabled = Some(Arc::new(Enabled { features, area }));
        Status::OK
    };
    rest.copy_from_slice(record.as_bytes());
    record.status
}

fn disable(state: &mut State) -> Status {
    if state.enabled.take().is_none() {
        return Status::NOT_ENABLED;
    }
    state.irtes.clear();
    state.attached.clear();
    Status::OK
}

fn device_info(state: &State, rest: &mut [u8]) -> Status {
    let (mut good, mut all) = (0, 0);
    for bytes in rest.chunks_mut(64) {
        let mut record = DeviceRecord::read_from_bytes(bytes).unwrap();
        assert_eq!(record, DeviceRecord::request(record.device), "statement B5");
        record.status = Status::NO_DEVICE;
        if let Some(device) = state.devices.iter().find(|device| device.id == record.device) {
            record = DeviceRecord {
                status: Status::OK,
                stores: stores(device).bits(),
                flags: flags(state, device).bits(),
                msix_entries: device.msix_entries,
                msi_messages: device.msi_messages,
                ims_entries: device.ims_entries,
                max_irtes: device.max_irtes,
                irtes: held_by(state, device.id),
                ..record
            };
            good += 1;
        }
        all += 1;
        bytes.copy_from_slice(record.as_bytes());
    }
    if good == all { Status::OK } else { Status::PARTIAL }
}

fn flags(state: &State, device: &FakeDevice) -> DeviceFlags {
    let mut flags = device.flags.union(DeviceFlags::DIRECT);
    flags.set(DeviceFlags::ATTACHED, state.attached.contains(&device.id));
    flags
}

/// ATTACH and DETACH.
fn turn(state: &mut State, operation: Operation, rest: &mut [u8]) -> Status {
    if !validate::has(state, Features::ATTACH) {
        return Status::BAD_OPERATION;
    }
    let mut failed = false;
    for bytes in rest.chunks_mut(64) {
        let mut record = AttachRecord::read_from_bytes(bytes).unwrap();
        let id = record.device;
        assert_eq!(record, AttachRecord::request(id), "statement B5");
        let attach = operation == Operation::ATTACH;
        record.status = match (state.away.get(&id), state.attached.contains(&id)) {
            _ if state.devices.iter().all(|device| device.id != id) => Status::NO_DEVICE,
            (Some(status), _) if attach || *status == Status::DEVICE_GONE => *status,
            (_, true) if attach => Status::ALREADY_ATTACHED,
            (_, false) if !attach => Status::NOT_ATTACHED,
            (_, false) => match state.refusal.filter(|(_, device)| *device == id) {
                Some((reason, _)) => {
                    record.refusal = reason;
                    Status::REFUSED
                }
                None => {
                    state.attached.insert(id);
                    Status::OK
                }
            },
            (_, true) => {
                state.attached.remove(&id);
                state.irtes.retain(|(of, ..), _| *of != id);
                Status::OK
            }
        };
        assert!((record.status == Status::REFUSED) != (record.refusal == Refusal::NONE));
        failed |= record.status != Status::OK;
        bytes.copy_from_slice(record.as_bytes());
    }
    if failed { Status::PARTIAL } else { Status::OK }
}

fn stores(device: &FakeDevice) -> Stores {
    let kinds = [
        (Stores::MSI, device.msi_messages),
        (Stores::MSIX, device.msix_entries),
        (Stores::IMS, device.ims_entries),
    ];
    kinds.into_iter().filter(|(_, entries)| *entries > 0).map(|(kind, _)| kind).collect()
}

/// Messages, each of which counts (statement M10).
fn held_by(state: &State, device: DeviceId) -> u32 {
    state.irtes.iter().filter(|((of, ..), _)| *of == device).map(|(_, held)| held.count).sum()
}

fn entries(state: &mut State, header: &Header, rest: &mut [u8]) -> Status {
    if state.enabled.is_none() {
        return Status::NOT_ENABLED;
    }
    assert!(header.count > 0, "BAD_COUNT");
    let whole = header.flags & CallFlags::ALL_OR_NOTHING.bits() != 0;
    let before = state.clone();
    let mut records: Vec<EntryRecord> =
        rest.chunks(64).map(|bytes| EntryRecord::read_from_bytes(bytes).unwrap()).collect();
    for record in &mut records {
        let answered = match header.operation {
            Operation::MAP => map(state, record),
            Operation::RETARGET => retarget(state, record),
            Operation::UNMAP => unmap(state, record),
            _ => query(state, record),
        };
        match answered {
            Ok(answer) => *record = EntryRecord { status: Status::OK, ..answer },
            Err(status) => record.status = status,
        }
    }
    let failed = records.iter().any(|record| record.status != Status::OK);
    if failed && whole {
        *state = before;
        for record in &mut records {
            let status = if record.status == Status::OK { Status::ABORTED } else { record.status };
            let handle = if header.operation == Operation::MAP { Handle::NONE } else { record.handle };
            *record = EntryRecord { status, handle, address: 0, data: 0, state: 0, ..*record };
        }
    }
    let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes().to_vec()).collect();
    rest.copy_from_slice(&bytes);
    match (failed, whole) {
        (false, _) => Status::OK,
        (true, false) => Status::PARTIAL,
        (true, true) => Status::ABORTED,
    }
}

fn parked(routing: Option<Routing>) -> EntryState {
    if routing.is_none() { EntryState::PARKED } else { EntryState::empty() }
}

fn answered(record: &EntryRecord, held: &FakeIrte, state: EntryState) -> EntryRecord {
    let Pair { address, data } = held.pair;
    EntryRecord { handle: held.handle, address, data, state: state.bits(), ..*record }
}

fn map(state: &mut State, record: &EntryRecord) -> Result<EntryRecord, Status> {
    assert_eq!(record.handle, Handle::NONE, "statement B5: MAP takes no handle");
    let device = *validate::entry(state, record)?;
    let routing = validate::routing(state, record)?;
    if let Some(held) = state.irtes.get(&validate::key(record)) {
        let same = held.routing == routing && held.count == record.count;
        let state = parked(routing) | EntryState::EXISTING;
        return if same { Ok(answered(record, held, state)) } else { Err(Status::ALREADY_MAPPED) };
    }
    if validate::backing(&device, record).is_some_and(|other| state.irtes.contains_key(&other)) {
        return Err(Status::BACKING_IN_USE);
    }
    if held_by(state, record.device) + record.count > device.max_irtes {
        return Err(Status::NO_QUOTA);
    }
    let slot = state.next;
    state.next += 1;
    // Remappable format: handle 14:0 in bits 19:5, handle 15 in bit 2, bit 4 set.
    let address = 0xfee0_0010 | u64::from(slot & 0x7fff) << 5 | u64::from(slot >> 15 & 1) << 2;
    // Statement M10: the low bits of the data are the device's.
    let data = if record.count > 1 { (slot * record.count) & 0xffff } else { 0 };
    let held =
        FakeIrte { handle: Handle::new(slot, 1), count: record.count, routing, pair: Pair { address, data } };
    state.irtes.insert(validate::key(record), held);
    let masked = if record.store == Store::MSIX { EntryState::MASKED } else { EntryState::empty() };
    Ok(answered(record, &held, parked(routing) | masked))
}

fn retarget(state: &mut State, record: &EntryRecord) -> Result<EntryRecord, Status> {
    validate::entry(state, record)?;
    let held = validate::handle(state, record)?;
    let routing = validate::routing(state, record)?;
    state.irtes.insert(validate::key(record), FakeIrte { routing, ..held });
    Ok(answered(record, &held, parked(routing)))
}

fn unmap(state: &mut State, record: &EntryRecord) -> Result<EntryRecord, Status> {
    assert_eq!(
        (record.flags, record.arch, record.routing),
        (0, Arch(0), Routing::new_zeroed()),
        "statement B5"
    );
    validate::entry(state, record)?;
    validate::handle(state, record)?;
    state.irtes.remove(&validate::key(record));
    Ok(*record)
}

fn query(state: &mut State, record: &EntryRecord) -> Result<EntryRecord, Status> {
    assert_eq!(
        (record.flags, record.arch, record.routing),
        (0, Arch(0), Routing::new_zeroed()),
        "statement B5"
    );
    validate::entry(state, record)?;
    let held = match record.handle {
        Handle::NONE => *state.irtes.get(&validate::key(record)).ok_or(Status::STALE_HANDLE)?,
        _ => validate::handle(state, record)?,
    };
    let arch = if held.routing.is_some() { Arch::X86_APIC } else { Arch(0) };
    let answer = EntryRecord { arch, routing: held.routing.unwrap_or_default(), ..*record };
    Ok(answered(&answer, &held, parked(held.routing)))
}
