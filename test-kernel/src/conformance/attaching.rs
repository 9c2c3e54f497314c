//! Section 5, ATTACH and DETACH.
//!
//! What a host holds may come without cause (A5, A7). So a line that may have something held is left alone for a moment
//! before it is judged.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::trapped::own_message;
use super::verdict::{Finding, Told, Verdict, ensure, wrong};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::raw::Raw;
use pvir_guest::abi::{
    AttachRecord, Bdf, CallFlags, DeviceFlags, DeviceId, DeviceRecord, EntryRecord, Features, Header,
    Operation, Pair, Status,
};

pub(super) const TESTS: Tests = &[
    ("A1", a1),
    ("A2", a2),
    ("A3", a3),
    ("A4", a4),
    ("A5", a5),
    ("A6", a6),
    ("A7", a7),
    ("A8", a8),
    ("NOT_ATTACHED", not_attached),
    ("ALREADY_ATTACHED", already_attached),
];

/// How often a line may bring more than was raised.
const SETTLING: u32 = 12;
/// So many raises that bring one interrupt each show that nothing is held any more.
const ALONE: u32 = 3;
/// How much later than anything else what is held may come.
const LATE_MS: u64 = 10 * QUIET_MS;
/// A device that nobody has.
const NOWHERE: DeviceId = DeviceId::new(0x7777, Bdf(0x7777));

/// ENABLE with all that is offered and ATTACH. The device that shows most is the answer, with a message of the guest's
/// own in its first entry that arrives.
pub(super) fn by_device(fixture: &mut Fixture) -> Result<(usize, MappedEntry), Finding> {
    by_device_with(fixture, fixture.offered())
}

fn by_device_with(fixture: &mut Fixture, features: Features) -> Result<(usize, MappedEntry), Finding> {
    if !fixture.discovered.host.features.contains(Features::ATTACH) {
        return Err(Finding::CannotShow("the host does not offer ATTACH"));
    }
    let subject = fixture.msix()?;
    let own = own_message_alone(fixture, subject, 0)?;
    let area = fixture.area().filter(|_| features.contains(Features::EPOCH));
    let (answer, record) = fixture.enable_with(features | Features::ATTACH, area);
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    let told = (answer.status, record.status) == (Status::OK, Status::OK);
    ensure!(told, "ENABLE with ATTACH: {answer}, record {}", Told(record.status));
    Ok((subject, own))
}

/// ATTACH or DETACH of a device, which must get this status.
pub(super) fn turn(fixture: &mut Fixture, operation: Operation, subject: usize, expected: Status) -> Verdict {
    let id = fixture.subject(subject)?.id;
    judged(fixture, operation, &AttachRecord::request(id), expected)
}

fn judged(fixture: &Fixture, operation: Operation, record: &AttachRecord, expected: Status) -> Verdict {
    let (answer, got) = fixture.one(operation, record);
    ensure!(got.status == expected, "{operation:?} of {}: {} ({answer})", record.device, Told(got.status));
    let refused = expected == Status::REFUSED;
    ensure!(refused || got.refusal.0 == 0, "{operation:?}: reason {:?}, not refused", got.refusal);
    Ok(())
}

pub(super) fn attach(fixture: &mut Fixture, subject: usize) -> Verdict {
    turn(fixture, Operation::ATTACH, subject, Status::OK)
}

fn detach(fixture: &mut Fixture, subject: usize) -> Verdict {
    turn(fixture, Operation::DETACH, subject, Status::OK)
}

fn says_attached(fixture: &mut Fixture, subject: usize, expected: bool) -> Verdict {
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let said = DeviceFlags::from_bits_retain(info.flags).contains(DeviceFlags::ATTACHED);
    ensure!(said == expected, "DEVICE_INFO says ATTACHED {said} in place of {expected}");
    Ok(())
}

/// A message of the guest's own that arrives. The statement before may have left something pending (A7), which has come then.
fn own_message_alone(fixture: &mut Fixture, subject: usize, index: u32) -> Result<MappedEntry, Finding> {
    let own = own_message(fixture, subject, index)?;
    comes_alone(fixture, &own)?;
    Ok(own)
}

/// Maps an entry that was in use before, and lets come what may have been held for it.
pub(super) fn settled(fixture: &mut Fixture, subject: usize, index: u32) -> Result<MappedEntry, Finding> {
    let line = fixture.line(subject, index)?;
    comes_alone(fixture, &line)?;
    Ok(line)
}

/// Raises a line until each of [`ALONE`] raises in a row brings one interrupt: what was held for it has come then, however
/// late a busy host was.
fn comes_alone(fixture: &mut Fixture, line: &MappedEntry) -> Verdict {
    let mut alone = 0;
    for _ in 0..SETTLING {
        let before = interrupts::count(line.cpu, line.vector);
        fixture.subject(line.subject)?.raise(line.index)?;
        fixture.comes(line, before)?;
        wait_until(QUIET_MS, || false);
        let subject = fixture.subject(line.subject)?;
        subject.acknowledge(line.index);
        if subject.repeats() {
            return Ok(());
        }
        let is_alone = || interrupts::count(line.cpu, line.vector) == before + 1;
        alone = if is_alone() { alone + 1 } else { 0 };
        if alone == ALONE {
            // KVM injects what an eventfd held when it was attached by a worker of its own, which a busy host runs late.
            if !wait_until(LATE_MS, || !is_alone()) {
                return Ok(());
            }
            alone = 0;
        }
    }
    Err(wrong(format_args!("entry {}: more arrives than is raised, {SETTLING} times", line.index)))
}

fn mask(fixture: &mut Fixture, subject: usize, index: u32, masked: bool) -> Verdict {
    if let Some(table) = fixture.subject(subject)?.table() {
        table.set_masked_at_once(index, masked);
    }
    Ok(())
}

fn a1(fixture: &mut Fixture) -> Verdict {
    let (subject, own) = by_device(fixture)?;
    fixture.arrives(&own)?;
    says_attached(fixture, subject, false)?;
    let bare = fixture.subject(subject)?.entry(0);
    let asked = EntryRecord::map(bare.device, bare.store, 0, Fixture::route(0, 0x50));
    fixture.expect(Operation::MAP, &asked, Status::NOT_ATTACHED)?;
    fixture.expect(Operation::QUERY, &bare, Status::NOT_ATTACHED)?;
    fixture.arrives(&own)?;
    attach(fixture, subject)?;
    says_attached(fixture, subject, true)?;
    fixture.disable()?;
    // Without the feature there is none of it.
    fixture.enable()?;
    says_attached(fixture, subject, false)?;
    for operation in [Operation::ATTACH, Operation::DETACH] {
        let answer = fixture.call(operation, &[AttachRecord::request(bare.device)]);
        ensure!(answer.status == Status::BAD_OPERATION, "{operation:?} without the feature: {answer}");
    }
    settled(fixture, subject, 0).map(|_| ())
}

fn a2(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    let id = fixture.subject(subject)?.id;
    let spoiled = |device| {
        let record = AttachRecord::request(device);
        [
            AttachRecord { reserved0: 1, ..record },
            AttachRecord { reserved1: [0, 0, 0, 0, 0, 1 << 63], ..record },
        ]
    };
    for record in spoiled(NOWHERE).into_iter().chain(spoiled(id)) {
        judged(fixture, Operation::ATTACH, &record, Status::RESERVED_NOT_ZERO)?;
        judged(fixture, Operation::DETACH, &record, Status::RESERVED_NOT_ZERO)?;
    }
    for operation in [Operation::ATTACH, Operation::DETACH] {
        let whole = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), ..Raw::header(operation, 1) };
        let answer = fixture.raw.call(&whole, &[AttachRecord::request(id)]);
        ensure!(answer.status == Status::BAD_FLAGS, "{operation:?} with ALL_OR_NOTHING: {answer}");
    }
    judged(fixture, Operation::ATTACH, &AttachRecord::request(NOWHERE), Status::NO_DEVICE)?;
    judged(fixture, Operation::DETACH, &AttachRecord::request(NOWHERE), Status::NO_DEVICE)?;
    attach(fixture, subject)?;
    for record in spoiled(id) {
        judged(fixture, Operation::ATTACH, &record, Status::RESERVED_NOT_ZERO)?;
    }
    turn(fixture, Operation::ATTACH, subject, Status::ALREADY_ATTACHED)?;
    fixture.disable()?;
    by_device_with(fixture, Features::empty())?;
    turn(fixture, Operation::ATTACH, subject, Status::STORE_UNSUPPORTED)
}

fn a3(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    let other = fixture.driven()?.into_iter().find(|other| *other != subject);
    let other = other.map(|other| own_message_alone(fixture, other, 0)).transpose()?;
    let epoch = fixture.epoch();
    attach(fixture, subject)?;
    ensure!(fixture.epoch() == epoch, "epoch {} after ATTACH, {epoch} before", fixture.epoch());
    let masked = fixture
        .subject(subject)?
        .table()
        .is_some_and(|table| (0..u32::from(table.len())).all(|index| table.is_masked(index)));
    ensure!(masked, "an entry is not masked after ATTACH");
    // What was programmed before acts no more.
    fixture.is_silent(subject, 0, other.as_ref())?;
    let line = settled(fixture, subject, 0)?;
    fixture.arrives(&line)?;
    other.map_or(Ok(()), |other| fixture.arrives(&other))
}

fn a4(fixture: &mut Fixture) -> Verdict {
    let (subject, own) = by_device_with(fixture, Features::empty())?;
    turn(fixture, Operation::ATTACH, subject, Status::STORE_UNSUPPORTED)?;
    fixture.arrives(&own)
}

fn a5(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    let entries = (0..2).filter(|index| fixture.has_entry(subject, *index)).count();
    for index in 0..u32::try_from(entries).unwrap_or(0) {
        own_message_alone(fixture, subject, index)?;
        mask(fixture, subject, index, true)?;
        let all = interrupts::grand_total();
        fixture.subject(subject)?.raise(index)?;
        fixture.nothing_came(all, None)?;
    }
    attach(fixture, subject)?;
    for index in 0..u32::try_from(entries).unwrap_or(0) {
        let (request, cpu, vector) = fixture.request(subject, index)?;
        let before = interrupts::count(cpu, vector);
        let entry = fixture.expect(Operation::MAP, &request, Status::OK)?;
        let line = MappedEntry { subject, index, cpu, vector, entry };
        // By the host, or by the device when it is unmasked.
        fixture.subject(subject)?.program(index, entry.pair());
        fixture.comes(&line, before)?;
        wait_until(QUIET_MS, || false);
        fixture.subject(subject)?.acknowledge(index);
        fixture.arrives(&line)?;
    }
    Ok(())
}

fn a6(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    attach(fixture, subject)?;
    let line = settled(fixture, subject, 0)?;
    fixture.arrives(&line)?;
    let (epoch, held) = (fixture.epoch(), fixture.features().irtes);
    detach(fixture, subject)?;
    ensure!(fixture.epoch() == epoch, "epoch {} after DETACH, {epoch} before", fixture.epoch());
    let now = fixture.features().irtes;
    ensure!(now < held, "the VM holds {now} IRTEs after DETACH, {held} before");
    says_attached(fixture, subject, false)?;
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    for index in 0..u32::from(table.len()) {
        let said = (table.pair(index), table.is_masked(index));
        ensure!(said == (Pair::default(), true), "entry {index} after DETACH: {said:?}");
    }
    own_message_alone(fixture, subject, 0)?;
    attach(fixture, subject)?;
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    let again = settled(fixture, subject, 0)?;
    ensure!(again.entry.handle != line.entry.handle, "the handle {} again", line.entry.handle);
    fixture.arrives(&again)
}

fn a7(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    for parked in [false, true] {
        attach(fixture, subject)?;
        let line = settled(fixture, subject, 0)?;
        fixture.arrives(&line)?;
        if parked && fixture.offered().contains(Features::PARKING) {
            fixture.expect(Operation::RETARGET, &Fixture::parked(&line), Status::OK)?;
        } else {
            mask(fixture, subject, 0, true)?;
        }
        let all = interrupts::grand_total();
        fixture.subject(subject)?.raise(0)?;
        fixture.nothing_came(all, None)?;
        detach(fixture, subject)?;
        fixture.nothing_came(all, None)?;
        let before = interrupts::grand_total();
        let own = own_message(fixture, subject, 0)?;
        let came = wait_until(fixture.patience_ms, || interrupts::grand_total() > before);
        ensure!(came, "what was raised before DETACH, parked {parked}, never came");
        fixture.subject(subject)?.acknowledge(0);
        comes_alone(fixture, &own)?;
    }
    Ok(())
}

fn a8(fixture: &mut Fixture) -> Verdict {
    let (_, own) = by_device(fixture)?;
    fixture.disable()?;
    fixture.arrives(&own)
}

/// The status NOT_ATTACHED.
fn not_attached(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    turn(fixture, Operation::DETACH, subject, Status::NOT_ATTACHED)?;
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &request, Status::NOT_ATTACHED)?;
    attach(fixture, subject)?;
    detach(fixture, subject)?;
    turn(fixture, Operation::DETACH, subject, Status::NOT_ATTACHED)
}

/// The status ALREADY_ATTACHED.
fn already_attached(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = by_device(fixture)?;
    attach(fixture, subject)?;
    let line = settled(fixture, subject, 0)?;
    turn(fixture, Operation::ATTACH, subject, Status::ALREADY_ATTACHED)?;
    fixture.arrives(&line)
}
