//! Section 5, ENABLE and DISABLE, and section 8 as far as it needs no event.

use super::Tests;
use super::bench::Bench;
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu::interrupts;
use crate::raw::ram;
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
    ("V1", v1),
    ("V5", v5),
];

/// An ENABLE that must not be granted.
fn refused(bench: &Bench, what: &str, record: &EnableRecord, expected: Status) -> Verdict {
    let (answer, got) = bench.one(Operation::ENABLE, record);
    let told = (answer.status, got.status) == (expected, expected) && answer.header.done == 0;
    ensure!(told, "{what}: {answer}, record {:?}, not {expected:?}", got.status);
    let as_sent = EnableRecord { status: Status::PENDING, ..got } == *record;
    ensure!(as_sent, "{what}: the record came back as {got:x?}");
    Ok(())
}

fn request(features: Features, area: u64) -> EnableRecord {
    EnableRecord { event_area: GuestPhysAddr(area), ..EnableRecord::request(features, None) }
}

fn e1(bench: &mut Bench) -> Verdict {
    let offered = bench.discovered.host.features;
    let unsupported = Status::UNSUPPORTED_FEATURE;
    for bit in (0..64).map(|bit| Features::from_bits_retain(1 << bit)) {
        if !offered.contains(bit) {
            let asked = (bench.offered() | bit).difference(Features::EPOCH) | bit;
            refused(bench, "a feature that is not offered", &request(asked, 0), unsupported)?;
        }
    }
    if offered.contains(Features::NOTIFY) {
        let alone = EnableRecord { notify_vector: 0x40, ..request(Features::NOTIFY, 0) };
        refused(bench, "NOTIFY without EPOCH", &alone, unsupported)?;
    }
    ensure!(bench.features().enabled == 0, "a refused ENABLE enabled {:#x}", bench.features().enabled);
    Ok(())
}

fn e2(bench: &mut Bench) -> Verdict {
    let plain = bench.offered().difference(Features::EPOCH);
    let reserved = Status::RESERVED_NOT_ZERO;
    let spare = bench.raw.spare().0;
    refused(bench, "an event area without EPOCH", &request(plain, spare), reserved)?;
    let vector = EnableRecord { notify_vector: 0x40, ..request(plain, 0) };
    refused(bench, "a vector without NOTIFY", &vector, reserved)?;
    let apic_id = EnableRecord { notify_apic_id: 1, ..request(plain, 0) };
    refused(bench, "an APIC id without NOTIFY", &apic_id, reserved)?;
    if bench.discovered.host.features.contains(Features::NOTIFY) {
        let notify = request(plain | Features::EPOCH | Features::NOTIFY, spare);
        let vector = EnableRecord { notify_vector: 5, ..notify };
        refused(bench, "vector 5 for announcements", &vector, Status::BAD_VECTOR)?;
        let nobody = EnableRecord { notify_vector: 0x40, notify_apic_id: 0xfff_fff0, ..notify };
        refused(bench, "announcements to nobody", &nobody, Status::BAD_DESTINATION)?;
    }
    if bench.offered().contains(Features::EPOCH) {
        let (answer, _) = bench.one(Operation::ENABLE, &request(bench.offered(), 0));
        let granted = [Status::OK, Status::REFUSED].contains(&answer.status);
        ensure!(granted, "EPOCH without an area: {answer}");
    }
    Ok(())
}

fn e3(bench: &mut Bench) -> Verdict {
    bench.needs(Features::EPOCH, "the host does not offer EPOCH")?;
    let (features, spare) = (bench.offered(), bench.raw.spare().0);
    for offset in [1, 8, 32, 63] {
        refused(bench, "an unaligned area", &request(features, spare + offset), Status::UNALIGNED)?;
    }
    let mut places = arrayvec::ArrayVec::<u64, 3>::from([0xfee0_0000, 0xff0_0000_0000, u64::MAX - 63]);
    if let Some(last) = ram::last_page(&bench.raw) {
        places.pop();
        places.push(last.0 + 4096);
    }
    for place in places {
        refused(bench, "an area where there is no RAM", &request(features, place), Status::BAD_ADDRESS)?;
    }
    Ok(())
}

fn e4(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    let id = bench.subject(subject)?.id;
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    ensure!(info.flags & DeviceFlags::DIRECT.bits() != 0, "{id} is enabled and not DIRECT");
    let Some(table) = bench.subject(subject)?.table() else { return Ok(()) };
    let live = (0..table.len()).find(|index| !table.is_masked(*index));
    ensure!(live.is_none(), "{id}: entry {live:?} is not masked after ENABLE");
    let pair = Pair { address: 0xfee0_0ff0, data: 0x1234 };
    table.set_pair(1, pair);
    ensure!(table.pair(1) == pair, "{id}: entry 1 reads {} after {pair} was written", table.pair(1));
    Ok(())
}

fn e5(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix()?;
    let line = bench.line(subject, 0)?;
    bench.arrives(&line)?;
    let own = line.entry.pair();
    // Of the same form, and never given: the handle is in the address on Intel, in the data on AMD.
    let absent = match own.intel_index() {
        Some(_) => Pair { address: own.address | 0x7fff << 5, ..own },
        None => Pair { data: 0x7fe, ..own },
    };
    bench.subject(subject)?.program(1, absent);
    bench.is_silent(subject, 1, Some(&line))?;
    bench.arrives(&line)
}

fn e6(bench: &mut Bench) -> Verdict {
    let (answer, record) = bench.enable_with(bench.offered(), bench.area());
    if answer.status != Status::REFUSED {
        let kept = (record.device, record.refusal) == (DeviceId::default(), Refusal::NONE);
        ensure!(kept, "{answer}: and yet device {} and reason {:?}", record.device, record.refusal);
        return Err(Finding::CannotShow("this host refuses nothing"));
    }
    ensure!(record.refusal.name().is_some_and(|_| record.refusal != Refusal::NONE), "{:?}", record.refusal);
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(record.device));
    ensure!(info.status == Status::OK, "refused because of {}, which is {:?}", record.device, info.status);
    ensure!(bench.features().enabled == 0, "refused and enabled");
    Ok(())
}

fn e7(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let line = bench.line(bench.msix().or_else(|_| bench.msi())?, 0)?;
    let before = (bench.features(), bench.raw.spare_bytes::<64>(0));
    for (features, area) in [(bench.offered(), bench.area()), (Features::empty(), None)] {
        let (answer, record) = bench.enable_with(features, area);
        let told = (answer.status, record.status) == (Status::ALREADY_ENABLED, Status::ALREADY_ENABLED);
        ensure!(told, "ENABLE while enabled: {answer}, record {:?}", record.status);
    }
    let after = (bench.features(), bench.raw.spare_bytes::<64>(0));
    ensure!(before == after, "ENABLE while enabled changed something");
    bench.arrives(&line)
}

fn e8(bench: &mut Bench) -> Verdict {
    let mut highest = 0;
    for _ in 0..4 {
        let (answer, _) = bench.enable_with(bench.offered(), bench.area());
        if answer.status == Status::REFUSED {
            return Err(Finding::CannotShow("the host refuses ENABLE"));
        }
        let epoch = answer.header.epoch;
        ensure!(epoch > highest, "epoch {epoch} after {highest}");
        highest = epoch;
        bench.disable()?;
    }
    Ok(())
}

fn e9(bench: &mut Bench) -> Verdict {
    let unknown = Features::from_bits_retain(1 << 63);
    let wrong = EnableRecord { reserved0: 1, notify_vector: 5, ..request(unknown, 1) };
    refused(bench, "all wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
    let wrong = EnableRecord { reserved0: 0, ..wrong };
    refused(bench, "all but the reserved fields wrong", &wrong, Status::UNSUPPORTED_FEATURE)?;
    if bench.offered().contains(Features::EPOCH) {
        let wrong = EnableRecord { features: Features::EPOCH.bits(), ..wrong };
        refused(bench, "notify and area wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
        let wrong = EnableRecord { notify_vector: 0, ..wrong };
        refused(bench, "the area unaligned and not in RAM", &wrong, Status::UNALIGNED)?;
    }
    bench.enable()?;
    let wrong = EnableRecord { reserved0: 1, ..request(unknown, 1) };
    refused(bench, "enabled, reserved field wrong", &wrong, Status::RESERVED_NOT_ZERO)?;
    refused(bench, "enabled, feature wrong", &request(unknown, 1), Status::ALREADY_ENABLED)
}

fn x1(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let line = bench.line(subject, 0)?;
    bench.arrives(&line)?;
    let all = interrupts::grand_total();
    let answer = bench.call::<EntryRecord>(Operation::DISABLE, &[]);
    ensure!(
        (answer.status, answer.header.epoch) == (Status::OK, 0),
        "DISABLE: {answer}, epoch {}",
        answer.header.epoch
    );
    let features = bench.features();
    ensure!((features.irtes, features.enabled) == (0, 0), "after DISABLE: {features:x?}");
    bench.subject(subject)?.raise(0);
    bench.nothing_came(all, None)?;
    bench.subject(subject)?.silence();
    bench.raw.fill_spare(0x77);
    bench.enable()?;
    bench.expect(Operation::QUERY, &Bench::bare(&line), Status::STALE_HANDLE)?;
    bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::STALE_HANDLE)?;
    bench.disable()?;
    bench.raw.fill_spare(0x77);
    let (answer, _) = bench.enable_with(bench.offered().difference(Features::EPOCH), None);
    ensure!(answer.status == Status::OK, "ENABLE without EPOCH: {answer}");
    let kept = bench.raw.spare_bytes::<64>(0) == [0x77; 64];
    ensure!(kept, "the event area of before was written");
    Ok(())
}

fn v1(bench: &mut Bench) -> Verdict {
    bench.needs(Features::EPOCH, "the host does not offer EPOCH")?;
    bench.raw.fill_spare(0x77);
    let (answer, _) = bench.enable_with(bench.offered(), bench.area());
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    let Ok(area) = EventArea::read_from_bytes(&bench.raw.spare_bytes::<64>(0)) else { return Ok(()) };
    let epoch = answer.header.epoch;
    let expected = (epoch, 0, 0, DeviceId::default(), [0; 5]);
    let got = (area.epoch, area.sequence, area.reason.0, area.device, area.reserved);
    ensure!(got == expected, "the event area after ENABLE in epoch {epoch}: {got:x?}");
    ensure!(bench.raw.spare_bytes::<64>(64) == [0x77; 64], "the bytes behind the event area were written");
    Ok(())
}

fn v5(bench: &mut Bench) -> Verdict {
    let before = bench.call(Operation::FEATURES, &[pvir_guest::abi::FeaturesRecord::request()]);
    ensure!(before.header.epoch == 0, "epoch {} while not enabled", before.header.epoch);
    let (answer, _) = bench.enable_with(bench.offered(), bench.area());
    if answer.status == Status::REFUSED {
        return Err(Finding::CannotShow("the host refuses ENABLE"));
    }
    let epoch = answer.header.epoch;
    ensure!(epoch != 0, "epoch 0 while enabled");
    let nowhere = EntryRecord::query(DeviceId::default(), Store::MSIX, 0);
    for operation in
        [Operation::MAP, Operation::RETARGET, Operation::UNMAP, Operation::QUERY, Operation::FEATURES]
    {
        let said = bench.call(operation, &[nowhere]).header.epoch;
        ensure!(said == epoch, "{operation:?} says epoch {said}, ENABLE {epoch}");
    }
    Ok(())
}
