//! Section 9: the statuses of records that name an entry.

use super::Tests;
use super::destinations::nobody;
use super::fixture::Fixture;
use super::refused::{beside_a_good_one, enable_without, good, maps, routed, routed_as_enabled};
use super::verdict::{Finding, Told, Verdict, ensure};
use crate::machine::cpu;
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    Arch, CallFlags, DeliveryMode, DestinationMode, DeviceId, DeviceRecord, EntryFlags, EntryRecord,
    Features, Handle, Header, Operation, Routing, Status, Store, Version,
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
    ("BAD_DESTINATION", |fixture| routed(fixture, Status::BAD_DESTINATION, &[|r| r.destination = nobody()])),
    ("BROADCAST", broadcast),
    ("BAD_DESTINATION_MODE", bad_destination_mode),
    ("BAD_DELIVERY_MODE", bad_delivery_mode),
    ("AMBIGUOUS_DESTINATION", ambiguous_destination),
    ("ALREADY_MAPPED", already_mapped),
    ("STALE_HANDLE", stale_handle),
    ("HANDLE_MISMATCH", handle_mismatch),
    ("DEVICE_GONE", super::events::device_gone),
    ("DEVICE_CUT_OFF", super::events::device_cut_off),
    ("BACKING_IN_USE", backing_in_use),
    ("NO_QUOTA", no_quota),
];

const MAP: Header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);

/// Flags that a record cannot have.
pub(super) fn bad_flags(fixture: &mut Fixture) -> Verdict {
    maps(fixture, Status::BAD_FLAGS, &[|entry| entry.flags = 1 << 7, |entry| entry.flags = 1 << 31])
}

/// Fields of a record that must be zero.
pub(super) fn reserved_not_zero(fixture: &mut Fixture) -> Verdict {
    let changes: [fn(&mut EntryRecord); 5] = [
        |entry| entry.routing.hint = 2,
        |entry| entry.routing.hint = 3,
        |entry| entry.routing.hint = 0x80,
        |entry| entry.routing.reserved = 1,
        |entry| entry.handle = Handle(1),
    ];
    maps(fixture, Status::RESERVED_NOT_ZERO, &changes)?;
    if fixture.offered().contains(Features::PARKING) {
        fixture.reset();
        let parked: [fn(&mut EntryRecord); 1] = [|entry| entry.flags = EntryFlags::PARKED.bits()];
        maps(fixture, Status::RESERVED_NOT_ZERO, &parked)?;
    }
    Ok(())
}

fn partial(fixture: &mut Fixture) -> Verdict {
    let (_, good) = good(fixture)?;
    let bare = EntryRecord::query(good.device, good.store, 0);
    let (answer, _) = fixture.one(Operation::QUERY, &bare);
    ensure!(answer.status == Status::PARTIAL, "{answer}");
    Ok(())
}

fn aborted(fixture: &mut Fixture) -> Verdict {
    fixture.needs_records(2)?;
    let (_, good) = good(fixture)?;
    let whole = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), count: 2, ..MAP };
    let answer = fixture.raw.call(&whole, &[good, EntryRecord { index: u32::MAX, ..good }]);
    ensure!(answer.status == Status::ABORTED, "{answer}");
    Ok(())
}

fn no_device(fixture: &mut Fixture) -> Verdict {
    maps(
        fixture,
        Status::NO_DEVICE,
        &[
            |entry| entry.device.segment ^= 0x8000,
            |entry| {
                entry.device = DeviceId { segment: u16::MAX, bdf: pvir_guest::abi::Bdf(u16::MAX) };
            },
        ],
    )
}

fn bad_store(fixture: &mut Fixture) -> Verdict {
    maps(fixture, Status::BAD_STORE, &[|entry| entry.store = Store(0), |entry| entry.store = Store(9)])
}

fn store_unsupported(fixture: &mut Fixture) -> Verdict {
    maps(
        fixture,
        Status::STORE_UNSUPPORTED,
        &[|entry| {
            entry.store = if entry.store == Store::MSIX { Store::MSI } else { Store::MSIX };
        }],
    )?;
    enable_without(fixture, Features::IMS)?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (good, ..) = fixture.request(subject, 0)?;
    let record = EntryRecord { store: Store::IMS, ..good };
    fixture.expect(Operation::MAP, &record, Status::STORE_UNSUPPORTED)?;
    beside_a_good_one(fixture, subject, Status::STORE_UNSUPPORTED, [record].into_iter())
}

fn bad_index(fixture: &mut Fixture) -> Verdict {
    let (subject, good) = good(fixture)?;
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let end = if good.store == Store::MSIX { info.msix_entries } else { 1 };
    let records = [end, 2048, u32::MAX].map(|index| EntryRecord { index, ..good });
    for record in &records {
        fixture.expect(Operation::MAP, record, Status::BAD_INDEX)?;
    }
    beside_a_good_one(fixture, subject, Status::BAD_INDEX, records.into_iter())
}

fn bad_message_count(fixture: &mut Fixture) -> Verdict {
    maps(
        fixture,
        Status::BAD_MESSAGE_COUNT,
        &[
            |entry| entry.count = 0,
            |entry| entry.count = 3,
            |entry| entry.count = 64,
            |entry| entry.count = u32::MAX,
        ],
    )?;
    if fixture.msix().is_err() {
        return Ok(());
    }
    fixture.reset();
    let two: [fn(&mut EntryRecord); 1] = [|entry| entry.count = 2];
    maps(fixture, Status::BAD_MESSAGE_COUNT, &two)
}

fn bad_arch(fixture: &mut Fixture) -> Verdict {
    let changes: [fn(&mut EntryRecord); 3] =
        [|entry| entry.arch = Arch(0), |entry| entry.arch = Arch::ARM_ITS, |entry| entry.arch = Arch(9)];
    maps(fixture, Status::BAD_ARCH, &changes)
}

fn bad_vector(fixture: &mut Fixture) -> Verdict {
    routed(
        fixture,
        Status::BAD_VECTOR,
        &[|r| r.vector = 0, |r| r.vector = 2, |r| r.vector = 5, |r| r.vector = 31],
    )?;
    fixture.reset();
    // The first and the last of those that are none of it.
    let (_, good) = good(fixture)?;
    for vector in [0x20, 0xff] {
        let record = EntryRecord { routing: Routing { vector, ..good.routing }, ..good };
        let mapped = fixture.expect(Operation::MAP, &record, Status::OK)?;
        let bare = EntryRecord::query(good.device, good.store, 0).with_handle(mapped.handle);
        fixture.expect(Operation::UNMAP, &bare, Status::OK)?;
    }
    Ok(())
}

fn broadcast(fixture: &mut Fixture) -> Verdict {
    routed(fixture, Status::BROADCAST, &[|r| r.destination = u32::MAX])?;
    if cpu::by_apic_id(0xff).is_none() {
        fixture.reset();
        routed(fixture, Status::BROADCAST, &[|r| r.destination = 0xff])?;
    }
    Ok(())
}

fn bad_destination_mode(fixture: &mut Fixture) -> Verdict {
    routed(
        fixture,
        Status::BAD_DESTINATION_MODE,
        &[|r| r.destination_mode = 2, |r| r.destination_mode = 255],
    )?;
    enable_without(fixture, Features::LOGICAL_DESTINATION)?;
    let logical: [fn(&mut Routing); 1] = [|r| r.destination_mode = DestinationMode::LOGICAL.0];
    routed_as_enabled(fixture, Status::BAD_DESTINATION_MODE, &logical)?;
    enable_without(fixture, Features::REDIRECTION_HINT)?;
    routed_as_enabled(fixture, Status::BAD_DESTINATION_MODE, &[|r| r.hint = 1])
}

fn bad_delivery_mode(fixture: &mut Fixture) -> Verdict {
    routed(
        fixture,
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
    enable_without(fixture, Features::LOWEST_PRIORITY)?;
    let lowest: [fn(&mut Routing); 1] = [|r| r.delivery_mode = DeliveryMode::LOWEST_PRIORITY.0];
    routed_as_enabled(fixture, Status::BAD_DELIVERY_MODE, &lowest)
}

fn ambiguous_destination(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::LOGICAL_DESTINATION, "the host does not offer LOGICAL_DESTINATION")?;
    let mates = cpu::all().filter(|cpu| cpu.apic_id / 16 == Fixture::apic_id(0) / 16).count();
    if mates < 2 {
        return Err(Finding::CannotShow("no two CPUs are in one cluster"));
    }
    routed(
        fixture,
        Status::AMBIGUOUS_DESTINATION,
        &[|r| {
            r.destination = (Fixture::apic_id(0) / 16) << 16 | 0xffff;
            r.destination_mode = DestinationMode::LOGICAL.0;
        }],
    )
}

fn already_mapped(fixture: &mut Fixture) -> Verdict {
    let (_, good) = good(fixture)?;
    fixture.expect(Operation::MAP, &good, Status::OK)?;
    let other = Routing { vector: good.routing.vector ^ 1, ..good.routing };
    fixture.expect(Operation::MAP, &EntryRecord { routing: other, ..good }, Status::ALREADY_MAPPED)?;
    Ok(())
}

fn stale_handle(fixture: &mut Fixture) -> Verdict {
    let (_, good) = good(fixture)?;
    let mapped = fixture.expect(Operation::MAP, &good, Status::OK)?;
    let bare = EntryRecord::query(good.device, good.store, 0).with_handle(mapped.handle);
    fixture.expect(Operation::UNMAP, &bare, Status::OK)?;
    fixture.expect(Operation::UNMAP, &bare, Status::STALE_HANDLE)?;
    Ok(())
}

fn handle_mismatch(fixture: &mut Fixture) -> Verdict {
    let (subject, good) = good(fixture)?;
    fixture.subject(subject)?.table_of(2)?;
    let mapped = fixture.expect(Operation::MAP, &good, Status::OK)?;
    let other = EntryRecord::query(good.device, good.store, 1).with_handle(mapped.handle);
    fixture.expect(Operation::UNMAP, &other, Status::HANDLE_MISMATCH)?;
    Ok(())
}

fn backing_in_use(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::IMS, "the host does not offer IMS")?;
    let (subject, good) = good(fixture)?;
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let emulated = info.flags & pvir_guest::abi::DeviceFlags::EMULATED.bits() != 0;
    if info.ims_entries == 0 || emulated {
        return Err(Finding::CannotShow("no IMS entry here is made of an MSI-X entry"));
    }
    fixture.expect(Operation::MAP, &EntryRecord { store: Store::IMS, ..good }, Status::OK)?;
    fixture.expect(
        Operation::MAP,
        &EntryRecord { index: info.msix_entries - 1, ..good },
        Status::BACKING_IN_USE,
    )?;
    Ok(())
}

fn no_quota(fixture: &mut Fixture) -> Verdict {
    let (subject, good) = good(fixture)?;
    let id = fixture.subject(subject)?.id;
    let (_, info) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let max_irtes = info.max_irtes.min(fixture.features().max_irtes);
    let mut records = ArrayVec::<EntryRecord, 64>::new();
    if max_irtes >= info.msix_entries || max_irtes >= 64 {
        return Err(Finding::CannotShow("no device here has more entries than its quota"));
    }
    fixture.needs_records(max_irtes + 1)?;
    records.extend((0..=max_irtes).map(|index| EntryRecord { index, ..good }));
    let answer = fixture.call(Operation::MAP, &records);
    ensure!(
        (answer.status, answer.header.done) == (Status::PARTIAL, max_irtes),
        "{answer}, quota {max_irtes}"
    );
    let last: EntryRecord = fixture.raw.read(max_irtes as usize + 1);
    ensure!(last.status == Status::NO_QUOTA, "the first beyond the quota: {}", Told(last.status));
    Ok(())
}
