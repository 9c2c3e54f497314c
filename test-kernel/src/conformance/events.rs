//! Section 8: events, which the host raises on demand: by a register of the emulated device, or by whoever runs the host
//! (`docs/conformance.md`, "Events").

use super::Tests;
use super::demand::Announced;
use super::fixture::{Fixture, MappedEntry};
use super::second_cpu::HELPER;
use super::verdict::{Finding, Told, Verdict, ensure};
use crate::machine::cpu;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use pvir_guest::abi::{
    DeviceRecord, EntryRecord, EventArea, EventReason, Features, FeaturesRecord, Operation, Status,
};
use zerocopy::FromBytes;

pub(super) const TESTS: Tests =
    &[("V2", v2), ("V3", v3), ("V4", v4), ("V7", v7), ("V8", v8), ("V9", v9), ("V10", v10), ("V11", v11)];

const STALE: EventReason = EventReason::STALE_PAIRS;
const GONE: EventReason = EventReason::DEVICE_GONE;
const CUT_OFF: EventReason = EventReason::DEVICE_CUT_OFF;

/// Enabled, with a live entry of a device for which the host raises such an event.
pub(super) fn live(fixture: &mut Fixture, reason: EventReason) -> Result<(usize, MappedEntry), Finding> {
    let subject = fixture.raises(reason)?;
    fixture.enable()?;
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)?;
    Ok((subject, line))
}

/// What is answered to each operation that names the line's entry by its old handle, and to MAP.
pub(super) fn each(fixture: &mut Fixture, line: &MappedEntry, expected: Status) -> Verdict {
    let bare = Fixture::bare(line);
    fixture.expect(Operation::QUERY, &bare, expected)?;
    fixture.expect(Operation::UNMAP, &bare, expected)?;
    let (moved, _) = fixture.moved(line, 0);
    fixture.expect(Operation::RETARGET, &moved, expected)?;
    Ok(())
}

fn v2(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::EPOCH, "the host does not offer EPOCH")?;
    let (subject, line) = live(fixture, STALE)?;
    let first = fixture.epoch();
    for number in 1..4 {
        fixture.event(subject, STALE)?;
        let Ok(area) = EventArea::read_from_bytes(&fixture.raw.spare_bytes::<64>(0)) else { return Ok(()) };
        let expected = (first + number, number, STALE.0, line.entry.device, [0; 5]);
        let got = (area.epoch, area.sequence, area.reason.0, area.device, area.reserved);
        ensure!(got == expected, "the event area after event {number}: {got:x?}");
        let said = fixture.epoch();
        ensure!(said == area.epoch, "a header says epoch {said}, the area {}", area.epoch);
    }
    Ok(())
}

fn v3(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, STALE)?;
    let held = fixture.features().irtes;
    fixture.event(subject, STALE)?;
    each(fixture, &line, Status::STALE_HANDLE)?;
    let now = fixture.features().irtes;
    ensure!(now < held, "the VM holds {now} IRTEs after the event, {held} before");
    // The pair is dead with the handle.
    fixture.subject(subject)?.program(0, line.entry.pair());
    fixture.is_silent(subject, 0, None)?;
    fixture.subject(subject)?.silence();
    Ok(())
}

/// ENABLE with NOTIFY, to a CPU other than the one that asks for events, where there is one.
fn announced(fixture: &mut Fixture) -> Result<Announced, Finding> {
    let features = Features::EPOCH | Features::NOTIFY;
    if !fixture.discovered.host.features.contains(features) {
        return Err(Finding::CannotShow("the host does not offer NOTIFY"));
    }
    let cpu = if cpu::count() > HELPER { HELPER } else { 0 };
    fixture.enable_announced(cpu)
}

fn v4(fixture: &mut Fixture) -> Verdict {
    let subject = fixture.raises(STALE)?;
    let announced = announced(fixture)?;
    for _ in 0..3 {
        let before = announced.count();
        fixture.event(subject, STALE)?;
        let epoch = fixture.epoch();
        let came = wait_until(fixture.patience_ms, || announced.count() > before);
        ensure!(came, "vector {:#x} did not come for epoch {epoch}", announced.vector);
        let seen = wait_until(fixture.patience_ms, || announced.has_seen(epoch));
        ensure!(seen, "when the vector came the area said epoch {}, not yet {epoch}", announced.latest());
    }
    Ok(())
}

fn v7(fixture: &mut Fixture) -> Verdict {
    const EVENTS: u64 = 20;
    let subject = fixture.raises(STALE)?;
    let announced = announced(fixture)?;
    let (before, first) = (announced.count(), fixture.epoch());
    for _ in 0..EVENTS {
        fixture.event(subject, STALE)?;
    }
    let epoch = fixture.epoch();
    ensure!(epoch == first + EVENTS, "epoch {epoch} after {EVENTS} events, {first} before");
    let seen = wait_until(fixture.patience_ms, || announced.has_seen(epoch));
    ensure!(seen, "no announcement came after the last event, epoch {epoch}");
    let came = announced.count() - before;
    ensure!(came <= EVENTS, "{came} announcements of {EVENTS} events");
    Ok(())
}

fn v8(fixture: &mut Fixture) -> Verdict {
    let (subject, old) = live(fixture, STALE)?;
    fixture.event(subject, STALE)?;
    if let Some(table) = fixture.subject(subject)?.table() {
        ensure!(table.is_masked(0), "the entry is not masked after STALE_PAIRS");
    }
    for index in 0..2 {
        if fixture.has_entry(subject, index) {
            let line = fixture.line(subject, index)?;
            ensure!(line.entry.handle != old.entry.handle, "the handle {} again", old.entry.handle);
            fixture.arrives(&line)?;
        }
    }
    Ok(())
}

fn v9(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, GONE)?;
    let before = fixture.features().devices;
    fixture.event(subject, GONE)?;
    gone(fixture, subject, &line)?;
    let after = fixture.features().devices;
    ensure!(after + 1 == before, "FEATURES counts {after} devices, {before} before one has gone");
    fixture.disable()?;
    info(fixture, line.entry.device, Status::NO_DEVICE)?;
    fixture.settle(subject)?;
    info(fixture, line.entry.device, Status::OK)?;
    fixture.enable()?;
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)
}

/// Whatever names it is DEVICE_GONE.
pub(super) fn gone(fixture: &mut Fixture, subject: usize, line: &MappedEntry) -> Verdict {
    each(fixture, line, Status::DEVICE_GONE)?;
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &request, Status::DEVICE_GONE)?;
    info(fixture, line.entry.device, Status::DEVICE_GONE)
}

pub(super) fn info(fixture: &Fixture, device: pvir_guest::abi::DeviceId, expected: Status) -> Verdict {
    let (answer, got) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(device));
    ensure!(got.status == expected, "DEVICE_INFO of {device}: {} ({answer})", Told(got.status));
    Ok(())
}

fn v10(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, CUT_OFF)?;
    fixture.event(subject, CUT_OFF)?;
    cut_off(fixture, subject, &line)?;
    info(fixture, line.entry.device, Status::OK)?;
    fixture.subject(subject)?.program(0, line.entry.pair());
    fixture.is_silent(subject, 0, None)?;
    fixture.subject(subject)?.silence();
    // Nor by a message of the guest's own, while the store is trapped.
    fixture.disable()?;
    let own = super::trapped::own_message(fixture, subject, 0)?;
    fixture.is_silent(subject, 0, None)?;
    fixture.settle(subject)?;
    // What was raised meanwhile may come now.
    wait_until(QUIET_MS, || false);
    // What was written before acts again, unless a session was in between.
    let kept = fixture.is_settled_at_once(subject);
    let own = if kept { own } else { super::trapped::own_message(fixture, subject, 0)? };
    fixture.arrives(&own)
}

/// MAP, and whatever names it by a handle, is DEVICE_CUT_OFF.
pub(super) fn cut_off(fixture: &mut Fixture, subject: usize, line: &MappedEntry) -> Verdict {
    each(fixture, line, Status::DEVICE_CUT_OFF)?;
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &request, Status::DEVICE_CUT_OFF).map(|_| ())
}

fn v11(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, CUT_OFF)?;
    fixture.event(subject, CUT_OFF)?;
    fixture.disable()?;
    fixture.enable()?;
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &request, Status::DEVICE_CUT_OFF)?;
    let epoch = fixture.epoch();
    fixture.settle(subject)?;
    ensure!(fixture.epoch() == epoch, "an event came of a device that may go on");
    let again = fixture.line(subject, 0)?;
    ensure!(again.entry.handle != line.entry.handle, "the handle {} again", line.entry.handle);
    fixture.arrives(&again)
}

/// The status DEVICE_GONE.
pub(super) fn device_gone(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, GONE)?;
    fixture.event(subject, GONE)?;
    gone(fixture, subject, &line)
}

/// The status DEVICE_CUT_OFF.
pub(super) fn device_cut_off(fixture: &mut Fixture) -> Verdict {
    let (subject, line) = live(fixture, CUT_OFF)?;
    fixture.event(subject, CUT_OFF)?;
    cut_off(fixture, subject, &line)
}

impl Fixture {
    /// The epoch that a header says.
    pub(super) fn epoch(&self) -> u64 {
        self.call(Operation::FEATURES, &[FeaturesRecord::request()]).header.epoch
    }

    /// Whether a device is there and not cut off. While pvir is not enabled nothing says that it is cut off.
    pub(super) fn goes_on(&self, subject: usize) -> bool {
        let Some(entry) = self.subjects.get(subject).map(|subject| subject.entry(0)) else { return false };
        let info = self.one(Operation::DEVICE_INFO, &DeviceRecord::request(entry.device)).1.status;
        let queried = self.one::<EntryRecord>(Operation::QUERY, &entry).1.status;
        info == Status::OK && queried != Status::DEVICE_CUT_OFF
    }
}
