//! Section 3: what becomes of the bytes of a request.

use super::fixture::Fixture;
use super::verdict::{Told, Verdict, ensure, wrong};
use super::{Tests, second_cpu};
use crate::machine::cpu::time::wait_until;
use crate::raw::Raw;
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_guest::abi::{
    DeviceRecord, EnableRecord, EntryFlags, EntryRecord, Features, FeaturesRecord, Handle, Header, Operation,
    Routing, Status,
};
use spin::Mutex;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

pub(super) const TESTS: Tests = &[("B2", b2), ("B3", b3), ("B5", b5)];

const UNIT: usize = 64;
/// Calls during which the helper must have fired: a second read sees another value in one of four.
const SHOTS: u32 = 100;
/// Milliseconds to wait for them.
const FIRE_MS: u64 = 3_000;

/// The block that the helper fires at, and where: offset, one byte, the other.
static TARGET: Mutex<Option<Raw>> = Mutex::new(None);
static SHOT: AtomicU64 = AtomicU64::new(0);
/// How often the helper has fired.
static FIRED: AtomicU64 = AtomicU64::new(0);

/// Job: flips a byte of the block between two values until told to stop.
fn fire(_: u64) -> u64 {
    let target = TARGET.lock();
    let Some(raw) = target.as_ref() else { return 0 };
    let [at, one, other, ..] = SHOT.load(Ordering::Relaxed).to_le_bytes();
    let mut shots = 0;
    while !second_cpu::is_over() {
        raw.set_byte(at.into(), one);
        raw.set_byte(at.into(), other);
        shots += 1;
        FIRED.store(shots, Ordering::Relaxed);
    }
    shots
}

/// Calls until so many of them were fired at, or for so long: on a busy machine the helper's CPU may have no time of its own
/// for many calls in a row, and what was not fired at shows nothing.
fn under_fire(mut call: impl FnMut() -> Verdict) -> Verdict {
    let (mut fired_at, mut verdict) = (0, Ok(()));
    wait_until(FIRE_MS, || {
        let before = FIRED.load(Ordering::Relaxed);
        verdict = call();
        fired_at += u32::from(FIRED.load(Ordering::Relaxed).wrapping_sub(before) > 1);
        fired_at >= SHOTS || verdict.is_err()
    });
    verdict
}

fn aim(at: usize, one: u8, other: u8) {
    let at = u8::try_from(at).unwrap_or(0);
    SHOT.store(u64::from_le_bytes([at, one, other, 0, 0, 0, 0, 0]), Ordering::Relaxed);
}

fn b2(fixture: &mut Fixture) -> Verdict {
    second_cpu::needed()?;
    *TARGET.lock() = Some(fixture.raw.by(fixture.raw.conduit()));
    // The count in the header is 1 or 2^24 + 1: good or BAD_COUNT, and never a block that leaves RAM.
    aim(offset_of!(Header, count) + 3, 1, 0);
    second_cpu::meanwhile(fire, 0, || {
        under_fire(|| {
            let answer = fixture.call(Operation::FEATURES, &[FeaturesRecord::request()]);
            let judged = [Status::OK, Status::BAD_COUNT].contains(&answer.status);
            ensure!(judged, "a count that changes meanwhile: {:?}", answer.status);
            Ok(())
        })
    })?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let (request, cpu, vector) = fixture.request(subject, 0)?;
    // The vector is good or 5: whatever was judged is what was done.
    aim(UNIT + offset_of!(EntryRecord, routing) + offset_of!(Routing, vector), vector, 5);
    second_cpu::meanwhile(fire, 0, || {
        under_fire(|| {
            fixture.call(Operation::MAP, &[request]);
            Ok(())
        })
    })?;
    let bare = fixture.subject(subject)?.entry(0);
    let (_, held) = fixture.one(Operation::QUERY, &bare);
    let whole = held.status == Status::STALE_HANDLE || held.routing == Fixture::route(cpu, vector);
    ensure!(whole, "a vector that changes meanwhile: mapped with {:?}", held.routing);
    Ok(())
}

fn b3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    for (operation, asked) in [
        (Operation::MAP, request),
        (Operation::MAP, EntryRecord { index: u32::MAX, ..request }),
        (Operation::MAP, EntryRecord { routing: Routing { vector: 5, ..request.routing }, ..request }),
        (Operation::QUERY, fixture.subject(subject)?.entry(0)),
        (Operation::UNMAP, fixture.subject(subject)?.entry(0).with_handle(Handle(7))),
    ] {
        let sent = Raw::header(operation, 1);
        let answer = fixture.raw.call(&sent, &[asked]);
        let header = answer.header;
        let answered = Header { status: header.status, done: header.done, epoch: header.epoch, ..sent };
        if let Some(field) = differing(&header, &answered) {
            return Err(wrong(format_args!("{operation:?}: `{field}` of the header came back as another")));
        }
        let got: EntryRecord = fixture.raw.read(1);
        let routed = operation != Operation::QUERY;
        let fields = [
            ("device", got.device != asked.device),
            ("store", got.store != asked.store),
            ("index", got.index != asked.index),
            ("count", got.count != asked.count),
            ("flags", got.flags != asked.flags),
            ("arch", routed && got.arch != asked.arch),
            ("routing", routed && got.routing != asked.routing),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, differs)| *differs) {
            return Err(wrong(format_args!("{operation:?}: `{field}` of the record came back as another")));
        }
    }
    Ok(())
}

/// The page's name of the first field in which two headers differ.
pub(super) fn differing(one: &Header, other: &Header) -> Option<&'static str> {
    let fields = [
        ("magic", one.magic != other.magic),
        ("version", one.version != other.version),
        ("operation", one.operation != other.operation),
        ("flags", one.flags != other.flags),
        ("count", one.count != other.count),
        ("status", one.status != other.status),
        ("done", one.done != other.done),
        ("epoch", one.epoch != other.epoch),
        ("reserved", one.reserved != other.reserved),
    ];
    fields.iter().find(|(_, differs)| *differs).map(|(field, _)| *field)
}

fn b5(fixture: &mut Fixture) -> Verdict {
    let reserved = Status::RESERVED_NOT_ZERO;
    let features = Raw::header(Operation::FEATURES, 1);
    bytes(fixture, &features, &FeaturesRecord::request(), 32..64, reserved)?;
    bytes(fixture, &features, &FeaturesRecord::request(), UNIT..UNIT + 4, reserved)?;
    bytes(fixture, &features, &FeaturesRecord::request(), UNIT + 52..2 * UNIT, reserved)?;
    let enable = EnableRecord::request(fixture.offered(), None);
    bytes(fixture, &Raw::header(Operation::ENABLE, 1), &enable, UNIT + 36..2 * UNIT, reserved)?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let info = DeviceRecord::request(fixture.subject(subject)?.id);
    bytes(fixture, &Raw::header(Operation::DEVICE_INFO, 1), &info, UNIT + 36..2 * UNIT, reserved)?;
    fixture.enable()?;
    let (request, ..) = fixture.request(subject, 0)?;
    let map = Raw::header(Operation::MAP, 1);
    bytes(fixture, &map, &request, UNIT + 40..UNIT + 48, reserved)?;
    bytes(fixture, &map, &request, UNIT + 24..UNIT + 32, reserved)?;
    untaken(fixture, &request)?;
    out_fields_are_ignored(fixture, &request)
}

/// Each byte of the range, set to a value that is not zero, must get the status, in the record if it is one of it.
fn bytes<R>(fixture: &Fixture, header: &Header, record: &R, range: Range<usize>, expected: Status) -> Verdict
where
    R: IntoBytes + FromBytes + FromZeros + Immutable + Copy,
{
    let raw = &fixture.raw;
    for at in range {
        raw.write(header, &[*record]);
        raw.set_byte(at, 0x80);
        let status = raw.call_at(raw.address());
        let of_record = raw.read::<[Status; 16]>(1)[1];
        let right = match (at < UNIT, header.operation) {
            (true, _) => status == expected,
            (false, Operation::ENABLE) => (status, of_record) == (expected, expected),
            (false, _) => (status, of_record) == (Status::PARTIAL, expected),
        };
        ensure!(
            right,
            "{:?}, {} of the {} is not zero: call {}, record {}",
            header.operation,
            field(header.operation, at),
            if at < UNIT { "header" } else { "record" },
            Told(status),
            Told(of_record)
        );
    }
    Ok(())
}

/// The page's name for the field in which a byte lies that must be zero.
fn field(operation: Operation, at: usize) -> &'static str {
    match (operation, at.checked_sub(UNIT)) {
        (_, None) => "`reserved`",
        (Operation::MAP, Some(24..32)) => "`handle`",
        (Operation::MAP, Some(40..48)) => "`routing.reserved`",
        (Operation::FEATURES, Some(0..4)) | (Operation::ENABLE | Operation::DEVICE_INFO, Some(36..40)) => {
            "`reserved0`"
        }
        (Operation::FEATURES, Some(56..64)) => "`reserved2`",
        _ => "`reserved1`",
    }
}

/// Fields that an operation does not take.
fn untaken(fixture: &mut Fixture, request: &EntryRecord) -> Verdict {
    let entry = fixture.expect(Operation::MAP, request, Status::OK)?;
    let bare = EntryRecord::query(request.device, request.store, 0).with_handle(entry.handle);
    let routed = EntryRecord { arch: request.arch, routing: request.routing, ..bare };
    let parked = EntryFlags::PARKED.bits();
    fixture.expect(Operation::UNMAP, &routed, Status::RESERVED_NOT_ZERO)?;
    fixture.expect(Operation::UNMAP, &EntryRecord { flags: parked, ..bare }, Status::BAD_FLAGS)?;
    fixture.expect(Operation::QUERY, &EntryRecord { flags: parked, ..bare }, Status::BAD_FLAGS)?;
    if fixture.offered().contains(Features::PARKING) {
        let both = EntryRecord { flags: parked, ..routed };
        fixture.expect(Operation::RETARGET, &both, Status::RESERVED_NOT_ZERO)?;
        fixture.expect(Operation::MAP, &both.with_handle(Handle::NONE), Status::RESERVED_NOT_ZERO)?;
    }
    Ok(())
}

/// Whatever stands in the out fields before a call, it is the same call.
fn out_fields_are_ignored(fixture: &mut Fixture, request: &EntryRecord) -> Verdict {
    let header = Header { status: Status(7), done: 9, epoch: u64::MAX, ..Raw::header(Operation::QUERY, 1) };
    let garbage = EntryRecord {
        status: Status::NO_GSI,
        address: u64::MAX,
        data: 7,
        state: u32::MAX,
        arch: request.arch,
        routing: Routing { reserved: u64::MAX, ..request.routing },
        ..EntryRecord::query(request.device, request.store, 0)
    };
    let answer = fixture.raw.call(&header, &[garbage]);
    ensure!(answer.status == Status::OK, "QUERY with garbage in the out fields: {answer}");
    Ok(())
}
