//! Section 5, ENABLE and DISABLE, and section 8 as far as it needs no event (`events.rs` has the rest).

use super::Tests;
use super::fixture::Fixture;
use super::second_cpu;
use super::subject::Subject;
use super::verdict::{Finding, Told, Verdict, ensure};
use crate::machine::cpu::interrupts;
use crate::raw::ram;
use core::fmt;
use pvir_guest::abi::{
    DeviceFlags, DeviceId, DeviceRecord, EnableRecord, EntryRecord, EventArea, Features, GuestPhysAddr,
    Operation, Pair, Refusal, Status, Store,
};
use zerocopy::FromBytes;

pub(super) const TESTS: Tests = &[
    ("E1", e1),
    ("E2", e2),
    ("E3", e3),
    ("E4", e4),
    ("E5", e5),
    ("E6", e6),
    ("E7", e7),
    ("E8", e8),
    ("E9", e9),
    ("X1", x1),
    ("X2", x2),
    ("V1", v1),
    ("V5", v5),
];

/// An ENABLE that must not be granted.
fn refused(fixture: &Fixture, what: &str, record: &EnableRecord, expected: Status) -> Verdict {
    let (answer, got) = fixture.one(Operation::ENABLE, record);
    let told = (answer.status, got.status) == (expected, expected) && answer.header.done == 0;
    ensure!(told, "{what}: {answer}, record {}, not {expected:?}", Told(got.status));
    let as_sent = EnableRecord { status: Status::PENDING, ..got } == *record;
    ensure!(as_sent, "{what}: the record came back as {got:x?}");
    Ok(())
}

fn request(features: Features, area: u64) -> EnableRecord {
    EnableRecord { event_area: GuestPhysAddr(area), ..EnableRecord::request(features, None) }
}

fn e1(fixture: &mut Fixture) -> Verdict {
    let offered = fixture.discovered.host.features;
    let unsupported = Status::UNSUPPORTED_FEATURE;
    for bit in (0..64).map(|bit| Features::from_bits_retain(1 << bit)) {
        if !offered.contains(bit) {
            let asked = (fixture.offered() | bit).difference(Features::EPOCH) | bit;
            refused(fixture, "a feature that is not offered", &request(asked, 0), unsupported)?;
        }
    }
    if offered.contains(Features::NOTIFY) {
        let alone = EnableRecord { notify_vector: 0x40, ..request(Features::NOTIFY, 0) };
        refused(fixture, "NOTIFY without EPOCH", &alone, unsupported)?;
    }
    ensure!(fixture.features().enabled == 0, "a refused ENABLE enabled {:#x}", fixture.features().enabled);
    each_offered_is_granted(fixture)
}

/// A guest takes any subset of what is offered: each one alone, and all but each one.
fn each_offered_is_granted(fixture: &mut Fixture) -> Verdict {
    let offered = fixture.offered();
    let alone = offered.iter();
    let all_but = offered.iter().map(|bit| offered.difference(bit));
    for features in alone.chain(all_but).chain([Features::empty()]) {
        let (answer, _) = fixture.one(Operation::ENABLE, &request(features, 0));
        match answer.status {
            Status::OK => fixture.disable()?,
            Status::REFUSED => {}
            _ => ensure!(
                false,
                "ENABLE with {:#x} of the offered {:#x}: {answer}",
                features.bits(),
                offered.bits()
            ),
        }
    }
    Ok(())
}

fn e2(fixture: &mut Fixture) -> Verdict {
    let plain = fixture.offered().difference(Features::EPOCH);
    let reserved = Status::RESERVED_NOT_ZERO;
    let spare = fixture.raw.spare().0;
    refused(fixture, "an event area without EPOCH", &request(plain, spare), reserved)?;
    let vector = EnableRecord { notify_vector: 0x40, ..request(plain, 0) };
    refused(fixture, "a vector without NOTIFY", &vector, reserved)?;
    let apic_id = EnableRecord { notify_apic_id: 1, ..request(plain, 0) };
    refused(fixture, "an APIC id without NOTIFY", &apic_id, reserved)?;
    if fixture.discovered.host.features.contains(Features::NOTIFY) {
        let notify = request(plain | Features::EPOCH | Features::NOTIFY, spare);
        let vector = EnableRecord { notify_vector: 5, ..notify };
        refused(fixture, "vector 5 for announcements", &vector, Status::BAD_NOTIFY)?;
        let none = EnableRecord { notify_vector: 0, ..notify };
        refused(fixture, "no vector for announcements", &none, Status::BAD_NOTIFY)?;
        let nobody = EnableRecord { notify_vector: 0x40, notify_apic_id: 0xfff_fff0, ..notify };
        refused(fixture, "announcements to nobody", &nobody, Status::BAD_NOTIFY)?;
    }
    if fixture.offered().contains(Features::EPOCH) {
        let (answer, _) = fixture.one(Operation::ENABLE, &request(fixture.offered(), 0));
        let granted = [Status::OK, Status::REFUSED].contains(&answer.status);
        ensure!(granted, "EPOCH without an area: {answer}");
    }
    Ok(())
}

fn e3(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::EPOCH, "the host does not offer EPOCH")?;
    let (features, spare) = (fixture.offered(), fixture.raw.spare().0);
    for offset in [1, 8, 32, 63] {
        refused(fixture, "an unaligned area", &request(features, spare + offset), Status::UNALIGNED)?;
    }
    let beyond_ram = ram::last_page(&fixture.raw).map(|last| last.0 + 4096);
    for place in [0xfee0_0000, 0xff0_0000_0000, u64::MAX - 63].into_iter().chain(beyond_ram) {
        refused(fixture, "an area where there is no RAM", &request(features, place), Status::BAD_ADDRESS)?;
    }
    Ok(())
}

fn e4(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    ensure!(info.flags & DeviceFlags::DIRECT.bits() != 0, "{id} is enabled and not DIRECT");
    let Some(table) = fixture.subject(subject)?.table() else { return Ok(()) };
    let live = (0..u32::from(table.len())).find(|index| !table.is_masked(*index));
    ensure!(live.is_none(), "{id}: entry {live:?} is not masked after ENABLE");
    let pair = Pair { address: 0xfee0_0ff0, data: 0x1234 };
    let last = u32::from(table.len()) - 1;
    table.set_pair(last, pair);
    let read = table.pair(last);
    ensure!(read == pair, "{id}: entry {last} reads {read} after {pair} was written");
    Ok(())
}

fn e5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    if !fixture.has_entry(subject, 1) {
        return Err(Finding::CannotShow(fixture.why_no_entry(subject, 1)));
    }
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)?;
    let own = line.entry.pair();
    // Of the same form, and never given: the handle is in the address on Intel, in the data on AMD.
    let absent = match own.intel_index() {
        Some(_) => Pair { address: own.address | 0x7fff << 5, ..own },
        None => Pair { data: 0x7fe, ..own },
    };
    fixture.subject(subject)?.program(1, absent);
    fixture.is_silent(subject, 1, Some(&line))?;
    fixture.arrives(&line)?;
    // Given, but to another device: one that has nothing mapped itself.
    let others = fixture.driven()?;
    for other in others.into_iter().filter(|other| *other != subject) {
        if fixture.subject(other)?.table().is_some() {
            fixture.subject(other)?.program(0, own);
            fixture.is_silent(other, 0, Some(&line))?;
            fixture.subject(other)?.silence();
        }
    }
    fixture.arrives(&line)
}

/// A reason as the page has it.
struct Reason(Refusal);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name() {
            Some(name) => write!(f, "{name} ({})", self.0.0),
            None => write!(f, "{:#x}, which is no reason of the page", self.0.0),
        }
    }
}

fn e6(fixture: &mut Fixture) -> Verdict {
    let (answer, record) = fixture.enable_with(fixture.offered(), fixture.area());
    if answer.status != Status::REFUSED {
        let kept = (record.device, record.refusal) == (DeviceId::default(), Refusal::NONE);
        ensure!(
            kept,
            "{answer}: and yet `device` is {} and `refusal` {}",
            record.device,
            Reason(record.refusal)
        );
        return Err(Finding::CannotShow("this host refuses nothing"));
    }
    let reason = record.refusal.name().is_some() && record.refusal != Refusal::NONE;
    ensure!(reason, "REFUSED, and `refusal` is {}", Reason(record.refusal));
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(record.device));
    ensure!(
        info.status == Status::OK,
        "refused because of {}, which is {}",
        record.device,
        Told(info.status)
    );
    ensure!(fixture.features().enabled == 0, "refused and enabled");
    Ok(())
}

fn e7(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let line = fixture.line(fixture.msix().or_else(|_| fixture.msi())?, 0)?;
    let before = (fixture.features(), fixture.raw.spare_bytes::<64>(0));
    for (features, area) in [(fixture.offered(), fixture.area()), (Features::empty(), None)] {
        let (answer, record) = fixture.enable_with(features, area);
        let told = (answer.status, record.status) == (Status::ALREADY_ENABLED, Status::ALREADY_ENABLED);
        ensure!(told, "ENABLE while enabled: {answer}, record {}", Told(record.status));
    }
    let after = (fixture.features(), fixture.raw.spare_bytes::<64>(0));
    ensure!(before == after, "ENABLE while enabled changed something");
    fixture.arrives(&line)
}

fn e8(fixture: &mut Fixture) -> Verdict {
    let mut highest = 0;
    for _ in 0..4 {
        let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
        if answer.status == Status::REFUSED {
            return Err(Finding::CannotShow("the host refuses ENABLE"));
        }
        let epoch = answer.header.epoch;
        ensure!(epoch > highest, "epoch {epoch} after {highest}");
        highest = epoch;
        fixture.disable()?;
    }
    Ok(())
}

fn e9(fixture: &mut Fixture) -> Verdict {
    let unknown = Features::from_bits_retain(1 << 63);
    let wrong = EnableRecord { reserved0: 1, notify_vector: 5, ..request(unknown, 1) };
    refused(fixture, "all wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
    let wrong = EnableRecord { reserved0: 0, ..wrong };
    refused(fixture, "all but the reserved fields wrong", &wrong, Status::UNSUPPORTED_FEATURE)?;
    if fixture.offered().contains(Features::EPOCH) {
        let wrong = EnableRecord { features: Features::EPOCH.bits(), ..wrong };
        refused(fixture, "notify and area wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
        let wrong = EnableRecord { notify_vector: 0, ..wrong };
        refused(fixture, "the area unaligned and not in RAM", &wrong, Status::UNALIGNED)?;
    }
    fixture.enable()?;
    let wrong = EnableRecord { reserved0: 1, ..request(unknown, 1) };
    refused(fixture, "enabled, reserved field wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
    refused(fixture, "enabled, feature wrong", &request(unknown, 1), Status::ALREADY_ENABLED)
}

fn x1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let line = fixture.line(subject, 0)?;
    fixture.arrives(&line)?;
    let all = interrupts::grand_total();
    let answer = fixture.call::<EntryRecord>(Operation::DISABLE, &[]);
    ensure!(
        (answer.status, answer.header.epoch) == (Status::OK, 0),
        "DISABLE: {answer}, epoch {}",
        answer.header.epoch
    );
    let features = fixture.features();
    ensure!((features.irtes, features.enabled) == (0, 0), "after DISABLE: {features:x?}");
    fixture.subject(subject)?.raise(0)?;
    fixture.nothing_came(all, None)?;
    fixture.subject(subject)?.silence();
    fixture.raw.fill_spare(0x77);
    fixture.enable()?;
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    fixture.disable()?;
    fixture.raw.fill_spare(0x77);
    let (answer, _) = fixture.enable_with(fixture.offered().difference(Features::EPOCH), None);
    ensure!(answer.status == Status::OK, "ENABLE without EPOCH: {answer}");
    let kept = fixture.raw.spare_bytes::<64>(0) == [0x77; 64];
    ensure!(kept, "the event area of before was written");
    Ok(())
}

fn x2(fixture: &mut Fixture) -> Verdict {
    second_cpu::needed()?;
    fixture.enable()?;
    let line = fixture.line(fixture.msix().or_else(|_| fixture.msi())?, 0)?;
    // As a kernel does that another one has started: ENABLE says that there is a session, DISABLE ends it.
    let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
    ensure!(answer.status == Status::ALREADY_ENABLED, "ENABLE while enabled: {answer}");
    let ended = second_cpu::run(second_cpu::disable, 0)?;
    ensure!(ended == u64::from(Status::OK.0), "DISABLE by another vCPU: status {ended:#x}");
    let features = fixture.features();
    ensure!((features.irtes, features.enabled) == (0, 0), "after it: {features:x?}");
    fixture.subjects.iter_mut().for_each(Subject::silence);
    fixture.enable()?;
    fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::STALE_HANDLE)?;
    Ok(())
}

fn v1(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::EPOCH, "the host does not offer EPOCH")?;
    fixture.raw.fill_spare(0x77);
    let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    let Ok(area) = EventArea::read_from_bytes(&fixture.raw.spare_bytes::<64>(0)) else { return Ok(()) };
    let epoch = answer.header.epoch;
    let expected = (epoch, 0, 0, DeviceId::default(), [0; 5]);
    let got = (area.epoch, area.sequence, area.reason.0, area.device, area.reserved);
    ensure!(got == expected, "the event area after ENABLE in epoch {epoch}: {got:x?}");
    ensure!(fixture.raw.spare_bytes::<64>(64) == [0x77; 64], "the bytes behind the event area were written");
    Ok(())
}

fn v5(fixture: &mut Fixture) -> Verdict {
    let before = fixture.call(Operation::FEATURES, &[pvir_guest::abi::FeaturesRecord::request()]);
    ensure!(before.header.epoch == 0, "epoch {} while not enabled", before.header.epoch);
    let (answer, _) = fixture.enable_with(fixture.offered(), fixture.area());
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    let epoch = answer.header.epoch;
    ensure!(epoch != 0, "epoch 0 while enabled");
    let nowhere = EntryRecord::query(DeviceId::default(), Store::MSIX, 0);
    for operation in
        [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY, Operation::FEATURES]
    {
        let said = fixture.call(operation, &[nowhere]).header.epoch;
        ensure!(said == epoch, "{operation:?} says epoch {said}, ENABLE {epoch}");
    }
    Ok(())
}
