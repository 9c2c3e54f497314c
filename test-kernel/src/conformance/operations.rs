//! Section 5: what all operations have in common, and FEATURES.

use super::Tests;
use super::fixture::Fixture;
use super::verdict::{Each, Finding, Verdict, ensure};
use crate::machine::{cpu, pci};
use crate::raw::Raw;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    CallFlags, DeviceId, DeviceRecord, EntryRecord, EntryState, Features, FeaturesRecord, Handle, Header,
    Operation, Routing, Status, Version,
};

pub(super) const TESTS: Tests = &[
    ("O1", o1),
    ("O2", o2),
    ("O3", o3),
    ("O4", o4),
    ("O5", o5),
    ("O6", o6),
    ("O7", o7),
    ("F1", f1),
    ("F2", f2),
    ("F3", f3),
];

fn whole(operation: Operation, count: u32) -> Header {
    Header { flags: CallFlags::ALL_OR_NOTHING.bits(), ..Raw::header(operation, count) }
}

fn statuses<const N: usize>(fixture: &Fixture) -> [Status; N] {
    core::array::from_fn(|record| fixture.raw.read::<EntryRecord>(record + 1).status)
}

/// Good, bad, good: entries 0 and 1 and one beyond the end.
fn mixed(fixture: &mut Fixture, subject: usize) -> Result<[EntryRecord; 3], Finding> {
    let (first, ..) = fixture.request(subject, 0)?;
    let (second, ..) = fixture.request(subject, 1)?;
    Ok([first, EntryRecord { index: u32::MAX, ..first }, second])
}

fn o1(fixture: &mut Fixture) -> Verdict {
    fixture.needs_records(3)?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let answer = {
        let records = mixed(fixture, subject)?;
        fixture.call(Operation::MAP, &records)
    };
    let each = statuses::<3>(fixture);
    ensure!(each == [Status::OK, Status::BAD_INDEX, Status::OK], "good, bad, good: {}", Each(&each));
    ensure!(answer.header.done == 2, "done is {} of 2", answer.header.done);
    Ok(())
}

fn o2(fixture: &mut Fixture) -> Verdict {
    fixture.needs_records(2)?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let [good, bad, other] = mixed(fixture, subject)?;
    let answer = fixture.call(Operation::MAP, &[good, bad]);
    ensure!(answer.status == Status::PARTIAL, "good and bad: {answer}");
    ensure!(fixture.features().irtes == 1, "good and bad: {} IRTEs are held", fixture.features().irtes);
    let answer = fixture.call(Operation::MAP, &[bad, bad]);
    ensure!((answer.status, answer.header.done) == (Status::PARTIAL, 0), "bad and bad: {answer}");
    let answer = fixture.call(Operation::MAP, &[good, other]);
    ensure!((answer.status, answer.header.done) == (Status::OK, 2), "good and good: {answer}");
    Ok(())
}

fn o3(fixture: &mut Fixture) -> Verdict {
    fixture.needs_records(3)?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let line = fixture.line(subject, 2)?;
    let aborted = [Status::ABORTED, Status::BAD_INDEX, Status::ABORTED];
    let map = mixed(fixture, subject)?;
    let (moved, _) = fixture.moved(&line, 0);
    let retarget = [moved, EntryRecord { index: u32::MAX, ..moved }, moved];
    let bare = Fixture::bare(&line);
    let unmap = [bare, EntryRecord { index: u32::MAX, ..bare }, bare];
    let all = [(Operation::MAP, map), (Operation::RETARGET, retarget)];
    for (operation, records) in all {
        let answer = fixture.raw.call(&whole(operation, 3), &records);
        let each = statuses::<3>(fixture);
        ensure!((answer.status, answer.header.done) == (Status::ABORTED, 0), "{operation:?}: {answer}");
        ensure!(each == aborted, "{operation:?}: {}", Each(&each));
        unchanged(fixture, &line)?;
    }
    let answer = fixture.raw.call(&whole(Operation::UNMAP, 2), &[unmap[0], unmap[1]]);
    ensure!((answer.status, answer.header.done) == (Status::ABORTED, 0), "UNMAP: {answer}");
    unchanged(fixture, &line)?;
    let [good, _, other] = map;
    let answer = fixture.raw.call(&whole(Operation::MAP, 2), &[good, other]);
    ensure!((answer.status, answer.header.done) == (Status::OK, 2), "two good ones: {answer}");
    Ok(())
}

/// The line is all that is mapped, and as it was.
fn unchanged(fixture: &mut Fixture, line: &super::fixture::MappedEntry) -> Verdict {
    let irtes = fixture.features().irtes;
    ensure!(irtes == 1, "{irtes} IRTEs are held after a call that was aborted");
    let held = fixture.expect(Operation::QUERY, &Fixture::bare(line), Status::OK)?;
    let route = Fixture::route(line.cpu, line.vector);
    ensure!(held.routing == route, "an aborted call moved the entry: {:?}", held.routing);
    fixture.arrives(line)
}

fn o4(fixture: &mut Fixture) -> Verdict {
    fixture.needs_records(3)?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let (request, _, vector) = fixture.request(subject, 0)?;
    let elsewhere = EntryRecord { routing: Routing { vector: vector + 1, ..request.routing }, ..request };
    fixture.call(Operation::MAP, &[request, request, elsewhere]);
    let each = statuses::<3>(fixture);
    ensure!(
        each == [Status::OK, Status::OK, Status::ALREADY_MAPPED],
        "MAP thrice in a call: {}",
        Each(&each)
    );
    let [first, second]: [EntryRecord; 2] = [fixture.raw.read(1), fixture.raw.read(2)];
    ensure!(
        (first.handle, first.pair()) == (second.handle, second.pair()),
        "the second MAP has another pair"
    );
    ensure!(second.state & EntryState::EXISTING.bits() != 0, "the second MAP is not EXISTING");
    // The later of two RETARGETs counts.
    let [there, back] = [elsewhere, request].map(|record| record.with_handle(first.handle));
    fixture.call(Operation::RETARGET, &[there, back]);
    let bare = EntryRecord::query(request.device, request.store, 0).with_handle(first.handle);
    let held = fixture.expect(Operation::QUERY, &bare, Status::OK)?;
    ensure!(held.routing == request.routing, "of two RETARGETs the first counts: {:?}", held.routing);
    let answer = fixture.call(Operation::UNMAP, &[bare, bare]);
    let each = statuses::<2>(fixture);
    let right = answer.status == Status::PARTIAL && each == [Status::OK, Status::STALE_HANDLE];
    ensure!(right, "UNMAP twice in a call: {answer}, {}", Each(&each));
    Ok(())
}

fn o5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (good, ..) = fixture.request(subject, 0)?;
    let garbage = EntryRecord { address: u64::MAX, data: 9, state: 5, ..good };
    let stale = Handle::new(0x7777, 0x7777);
    let bare = EntryRecord {
        address: 1,
        data: 9,
        state: 5,
        ..fixture.subject(subject)?.entry(0).with_handle(stale)
    };
    for (operation, record) in [
        (Operation::MAP, EntryRecord { routing: Routing { vector: 3, ..good.routing }, ..garbage }),
        (Operation::RETARGET, garbage.with_handle(stale)),
        (Operation::UNMAP, bare),
        (Operation::QUERY, bare),
    ] {
        let (_, got) = fixture.one(operation, &record);
        ensure!(got.status != Status::OK, "{operation:?} of a bad record is OK");
        let silent = (got.address, got.data, got.state) == (0, 0, 0);
        ensure!(
            silent,
            "{operation:?}: a record that failed says {:x} {:x} {:x}",
            got.address,
            got.data,
            got.state
        );
        ensure!(got.handle == record.handle, "{operation:?}: the handle came back as {}", got.handle);
    }
    ensure!(fixture.features().irtes == 0, "a record that failed left an IRTE");
    Ok(())
}

fn o6(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    for operation in
        [Operation::FEATURES, Operation::ENABLE, Operation::DISABLE, Operation::DEVICE_INFO, Operation::QUERY]
    {
        let header = whole(operation, u32::from(operation != Operation::DISABLE));
        let answer = fixture.raw.call(&header, &[FeaturesRecord::request()]);
        ensure!(answer.status == Status::BAD_FLAGS, "{operation:?} with ALL_OR_NOTHING: {answer}");
    }
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP] {
        let header = Header { flags: 2, ..Raw::header(operation, 1) };
        let answer = fixture.raw.call(&header, &[FeaturesRecord::request()]);
        ensure!(answer.status == Status::BAD_FLAGS, "{operation:?} with flag 2: {answer}");
    }
    Ok(())
}

/// RETARGETs of one record in a row: more than a host that counts calls lets through.
const IN_A_ROW: u32 = 64;

/// How long a vCPU is held is not judged: a busy machine looks the same.
fn o7(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    let (there, other) = fixture.moved(&line, Fixture::cpu_for(1));
    let (back, _) = fixture.moved(&other, line.cpu);
    for number in 0..IN_A_ROW {
        let record = if number % 2 == 0 { there } else { back };
        let (answer, _) = fixture.one(Operation::RETARGET, &record);
        ensure!(answer.status == Status::OK, "RETARGET {number} of one record in a row: {answer}");
    }
    for (operation, record) in
        [(Operation::QUERY, Fixture::bare(&line)), (Operation::UNMAP, Fixture::bare(&line))]
    {
        let (answer, _) = fixture.one(operation, &record);
        ensure!(answer.status == Status::OK, "{operation:?} after them: {answer}");
    }
    ensure!(fixture.features().status == Status::OK, "FEATURES after them is refused");
    fixture.disable()
}

fn f1(fixture: &mut Fixture) -> Verdict {
    let before = fixture.features();
    let again = fixture.features();
    ensure!(before == again, "two FEATURES in a row differ: {before:x?} {again:x?}");
    ensure!((before.enabled, before.irtes) == (0, 0), "while not enabled: {before:x?}");
    fixture.enable()?;
    let header = Header { version: Version(0), ..Raw::header(Operation::FEATURES, 1) };
    let first = fixture.raw.call(&header, &[FeaturesRecord::request()]);
    let enabled = fixture.features();
    let second = fixture.raw.call(&header, &[FeaturesRecord::request()]);
    ensure!(first.header.epoch == second.header.epoch, "FEATURES changes the epoch");
    ensure!(
        Features::from_bits_retain(enabled.enabled) == fixture.offered(),
        "enabled is {:#x}",
        enabled.enabled
    );
    let expected = FeaturesRecord { enabled: enabled.enabled, ..before };
    ensure!(enabled == expected, "FEATURES after ENABLE: {enabled:x?}, before {before:x?}");
    Ok(())
}

fn f2(fixture: &mut Fixture) -> Verdict {
    for version in [0, 2, 0x7777, u16::MAX] {
        let any = Header { version: Version(version), ..Raw::header(Operation::FEATURES, 1) };
        let answer = fixture.raw.call(&any, &[FeaturesRecord::request()]);
        ensure!(answer.status == Status::OK, "FEATURES with version {version:#x}: {answer}");
    }
    Ok(())
}

fn f3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let features = fixture.features();
    let known = (0..cpu::count()).map(Fixture::apic_id).max().unwrap_or(0);
    ensure!(features.max_apic_id >= known, "max_apic_id is {}, a vCPU has {known}", features.max_apic_id);
    let mut ids: ArrayVec<DeviceId, 4> = ArrayVec::new();
    for subject in &fixture.subjects {
        if !ids.contains(&subject.id) && !ids.is_full() {
            ids.push(subject.id);
        }
    }
    let devices = usize::try_from(features.devices).unwrap_or(0);
    ensure!(devices >= ids.len(), "{devices} devices, {} of them are driven here", ids.len());
    let functions = pci::enumerate();
    let is_known = |id: &DeviceId| {
        fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(*id)).1.status == Status::OK
    };
    let all = functions.iter().filter_map(|function| pci::device_id(function.address));
    let known = all.filter(is_known).count();
    ensure!(devices == known, "devices is {devices}, DEVICE_INFO knows {known} of configuration space");
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (mut request, ..) = fixture.request(subject, 0)?;
    // The highest id is one of a vCPU, and no other one is higher.
    request.routing.destination = features.max_apic_id;
    fixture.expect(Operation::MAP, &request, Status::OK)?;
    ensure!(fixture.features().irtes == 1, "one message is mapped: irtes is {}", fixture.features().irtes);
    let (mut beyond, ..) = fixture.request(subject, 0)?;
    beyond.routing.destination = features.max_apic_id + 1;
    if beyond.routing.destination != 0xff {
        fixture.expect(Operation::MAP, &beyond, Status::BAD_DESTINATION)?;
    }
    Ok(())
}
