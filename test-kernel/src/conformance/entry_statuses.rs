//! Section 9: the statuses of records that name an entry.

use super::Tests;
use super::bench::Bench;
use super::destinations::nobody;
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    Arch, CallFlags, DeliveryMode, DestinationMode, DeviceId, DeviceRecord, EntryRecord, Features, Header,
    Operation, Routing, Status, Store, Version,
};

pub(super) const TESTS: Tests = &[
    ("PARTIAL", partial),
    ("ABORTED", aborted),
    ("NO_DEVICE", no_device),
    ("BAD_STORE", bad_store),
    ("STORE_UNSUPPORTED", store_unsupported),
    ("BAD_INDEX", bad_index),
    ("BAD_MESSAGE_COUNT", bad_message_count),
    ("BAD_ARCH", bad_arch),
    ("BAD_VECTOR", bad_vector),
    ("BAD_DESTINATION", |bench| routed(bench, Status::BAD_DESTINATION, &[|r| r.destination = nobody()])),
    ("BROADCAST", broadcast),
    ("BAD_DESTINATION_MODE", bad_destination_mode),
    ("BAD_DELIVERY_MODE", bad_delivery_mode),
    ("AMBIGUOUS_DESTINATION", ambiguous_destination),
    ("ALREADY_MAPPED", already_mapped),
    ("STALE_HANDLE", stale_handle),
    ("HANDLE_MISMATCH", handle_mismatch),
    ("BACKING_IN_USE", backing_in_use),
    ("NO_QUOTA", no_quota),
];

const MAP: Header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);

/// Enabled, and a good MAP of entry 0.
fn good(bench: &mut Bench) -> Result<(usize, EntryRecord), Finding> {
    bench.enable()?;
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let (request, ..) = bench.request(subject, 0)?;
    Ok((subject, request))
}

/// MAPs of entry 0, changed, beside which nothing may be mapped.
fn maps(bench: &mut Bench, expected: Status, changes: &[fn(&mut EntryRecord)]) -> Verdict {
    let (_, good) = good(bench)?;
    for change in changes {
        let mut record = good;
        change(&mut record);
        bench.expect(Operation::MAP, &record, expected)?;
    }
    let held = bench.features().irtes;
    ensure!(held == 0, "{held} IRTEs are held after {expected:?}");
    Ok(())
}

/// The same with changes of the routing.
fn routed(bench: &mut Bench, expected: Status, changes: &[fn(&mut Routing)]) -> Verdict {
    let (_, good) = good(bench)?;
    for change in changes {
        let mut record = good;
        change(&mut record.routing);
        bench.expect(Operation::MAP, &record, expected)?;
    }
    // Of an entry that is mapped too.
    let mapped = bench.expect(Operation::MAP, &good, Status::OK)?;
    for change in changes {
        let mut record = good.with_handle(mapped.handle);
        change(&mut record.routing);
        bench.expect(Operation::RETARGET, &record, expected)?;
    }
    Ok(())
}

fn partial(bench: &mut Bench) -> Verdict {
    let (_, good) = good(bench)?;
    let bare = EntryRecord::query(good.device, good.store, 0);
    let (answer, _) = bench.one(Operation::QUERY, &bare);
    ensure!(answer.status == Status::PARTIAL, "{answer}");
    Ok(())
}

fn aborted(bench: &mut Bench) -> Verdict {
    let (_, good) = good(bench)?;
    let whole = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), count: 2, ..MAP };
    let answer = bench.raw.call(&whole, &[good, EntryRecord { index: u32::MAX, ..good }]);
    ensure!(answer.status == Status::ABORTED, "{answer}");
    Ok(())
}

fn no_device(bench: &mut Bench) -> Verdict {
    maps(
        bench,
        Status::NO_DEVICE,
        &[
            |entry| entry.device.segment ^= 0x8000,
            |entry| {
                entry.device = DeviceId { segment: u16::MAX, bdf: pvir_guest::abi::Bdf(u16::MAX) };
            },
        ],
    )
}

fn bad_store(bench: &mut Bench) -> Verdict {
    maps(bench, Status::BAD_STORE, &[|entry| entry.store = Store(0), |entry| entry.store = Store(9)])
}

fn store_unsupported(bench: &mut Bench) -> Verdict {
    maps(
        bench,
        Status::STORE_UNSUPPORTED,
        &[|entry| {
            entry.store = if entry.store == Store::MSIX { Store::MSI } else { Store::MSIX };
        }],
    )
}

fn bad_index(bench: &mut Bench) -> Verdict {
    let (subject, good) = good(bench)?;
    let id = bench.subject(subject)?.id;
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let end = if good.store == Store::MSIX { info.msix_entries } else { 1 };
    for index in [end, 2048, u32::MAX] {
        bench.expect(Operation::MAP, &EntryRecord { index, ..good }, Status::BAD_INDEX)?;
    }
    Ok(())
}

fn bad_message_count(bench: &mut Bench) -> Verdict {
    maps(
        bench,
        Status::BAD_MESSAGE_COUNT,
        &[
            |entry| entry.count = 0,
            |entry| entry.count = 3,
            |entry| entry.count = 64,
            |entry| entry.count = u32::MAX,
        ],
    )
}

fn bad_arch(bench: &mut Bench) -> Verdict {
    let changes: [fn(&mut EntryRecord); 3] =
        [|entry| entry.arch = Arch(0), |entry| entry.arch = Arch::ARM_ITS, |entry| entry.arch = Arch(9)];
    maps(bench, Status::BAD_ARCH, &changes)
}

fn bad_vector(bench: &mut Bench) -> Verdict {
    routed(
        bench,
        Status::BAD_VECTOR,
        &[|r| r.vector = 0, |r| r.vector = 2, |r| r.vector = 5, |r| r.vector = 31],
    )
}

fn broadcast(bench: &mut Bench) -> Verdict {
    routed(bench, Status::BROADCAST, &[|r| r.destination = u32::MAX])?;
    if cpu::by_apic_id(0xff).is_none() {
        bench.reset();
        routed(bench, Status::BROADCAST, &[|r| r.destination = 0xff])?;
    }
    Ok(())
}

fn bad_destination_mode(bench: &mut Bench) -> Verdict {
    routed(bench, Status::BAD_DESTINATION_MODE, &[|r| r.destination_mode = 2, |r| r.destination_mode = 255])?;
    let offered = bench.offered();
    if !offered.contains(Features::LOGICAL_DESTINATION) {
        bench.reset();
        let logical: [fn(&mut Routing); 1] = [|r| r.destination_mode = DestinationMode::LOGICAL.0];
        routed(bench, Status::BAD_DESTINATION_MODE, &logical)?;
    }
    if !offered.contains(Features::REDIRECTION_HINT) {
        bench.reset();
        routed(bench, Status::BAD_DESTINATION_MODE, &[|r| r.hint = 1])?;
    }
    Ok(())
}

fn bad_delivery_mode(bench: &mut Bench) -> Verdict {
    routed(
        bench,
        Status::BAD_DELIVERY_MODE,
        &[
            |r| r.delivery_mode = DeliveryMode::SMI.0,
            |r| r.delivery_mode = 3,
            |r| r.delivery_mode = DeliveryMode::NMI.0,
            |r| r.delivery_mode = DeliveryMode::INIT.0,
            |r| r.delivery_mode = 6,
            |r| r.delivery_mode = DeliveryMode::EXTINT.0,
            |r| r.delivery_mode = 255,
        ],
    )?;
    if !bench.offered().contains(Features::LOWEST_PRIORITY) {
        bench.reset();
        let lowest: [fn(&mut Routing); 1] = [|r| r.delivery_mode = DeliveryMode::LOWEST_PRIORITY.0];
        routed(bench, Status::BAD_DELIVERY_MODE, &lowest)?;
    }
    Ok(())
}

fn ambiguous_destination(bench: &mut Bench) -> Verdict {
    bench.needs(Features::LOGICAL_DESTINATION, "the host does not offer LOGICAL_DESTINATION")?;
    let mates = cpu::all().filter(|cpu| cpu.apic_id / 16 == Bench::apic_id(0) / 16).count();
    if mates < 2 {
        return Err(Finding::CannotShow("no two CPUs are in one cluster"));
    }
    routed(
        bench,
        Status::AMBIGUOUS_DESTINATION,
        &[|r| {
            r.destination = (Bench::apic_id(0) / 16) << 16 | 0xffff;
            r.destination_mode = DestinationMode::LOGICAL.0;
        }],
    )
}

fn already_mapped(bench: &mut Bench) -> Verdict {
    let (_, good) = good(bench)?;
    bench.expect(Operation::MAP, &good, Status::OK)?;
    let other = Routing { vector: good.routing.vector ^ 1, ..good.routing };
    bench.expect(Operation::MAP, &EntryRecord { routing: other, ..good }, Status::ALREADY_MAPPED)?;
    Ok(())
}

fn stale_handle(bench: &mut Bench) -> Verdict {
    let (_, good) = good(bench)?;
    let mapped = bench.expect(Operation::MAP, &good, Status::OK)?;
    let bare = EntryRecord::query(good.device, good.store, 0).with_handle(mapped.handle);
    bench.expect(Operation::UNMAP, &bare, Status::OK)?;
    bench.expect(Operation::UNMAP, &bare, Status::STALE_HANDLE)?;
    Ok(())
}

fn handle_mismatch(bench: &mut Bench) -> Verdict {
    let (_, good) = good(bench)?;
    bench.msix()?;
    let mapped = bench.expect(Operation::MAP, &good, Status::OK)?;
    let other = EntryRecord::query(good.device, good.store, 1).with_handle(mapped.handle);
    bench.expect(Operation::UNMAP, &other, Status::HANDLE_MISMATCH)?;
    Ok(())
}

fn backing_in_use(bench: &mut Bench) -> Verdict {
    bench.needs(Features::IMS, "the host does not offer IMS")?;
    let (subject, good) = good(bench)?;
    let id = bench.subject(subject)?.id;
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let emulated = info.flags & pvir_guest::abi::DeviceFlags::EMULATED.bits() != 0;
    if info.ims_entries == 0 || emulated {
        return Err(Finding::CannotShow("no IMS entry here is made of an MSI-X entry"));
    }
    bench.expect(Operation::MAP, &EntryRecord { store: Store::IMS, ..good }, Status::OK)?;
    bench.expect(
        Operation::MAP,
        &EntryRecord { index: info.msix_entries - 1, ..good },
        Status::BACKING_IN_USE,
    )?;
    Ok(())
}

fn no_quota(bench: &mut Bench) -> Verdict {
    let (subject, good) = good(bench)?;
    let id = bench.subject(subject)?.id;
    let (_, info) = bench.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let most = info.max_irtes.min(bench.features().max_irtes);
    let mut records = ArrayVec::<EntryRecord, 64>::new();
    if most >= info.msix_entries || most >= 64 {
        return Err(Finding::CannotShow("no device here has more entries than its quota"));
    }
    records.extend((0..=most).map(|index| EntryRecord { index, ..good }));
    let answer = bench.call(Operation::MAP, &records);
    ensure!((answer.status, answer.header.done) == (Status::PARTIAL, most), "{answer}, quota {most}");
    let last: EntryRecord = bench.raw.read(most as usize + 1);
    ensure!(last.status == Status::NO_QUOTA, "the first beyond the quota: {:?}", last.status);
    Ok(())
}
