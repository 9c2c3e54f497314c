//! Section 5, the entry record: the order in which it is judged.

use super::Tests;
use super::fixture::Fixture;
use super::refused::enable_without;
use super::verdict::{Verdict, ensure};
use crate::machine::cpu;
use pvir_guest::abi::{Arch, EntryFlags, EntryRecord, Features, Handle, Operation, Routing, Status, Store};

pub(super) const TESTS: Tests = &[("J1", j1), ("J2", j2), ("J3", j3)];

/// A fault in a record, and the status that it has alone.
type Fault = (Status, fn(&mut EntryRecord));

/// The faults in the order of the page. Each leaves the later ones as they are.
const FAULTS: [Fault; 13] = [
    (Status::RESERVED_NOT_ZERO, |record| record.routing.reserved = 1 << 63),
    (Status::BAD_FLAGS, |record| record.flags = 1 << 31),
    (Status::NO_DEVICE, |record| record.device.segment = 0xffff),
    (Status::BAD_STORE, |record| record.store = Store(9)),
    (Status::BAD_INDEX, |record| record.index = u32::MAX),
    (Status::BAD_MESSAGE_COUNT, |record| record.count = 0),
    (Status::STALE_HANDLE, |record| record.handle = Handle(u64::MAX)),
    (Status::BAD_ARCH, |record| record.arch = Arch(0x77)),
    (Status::RESERVED_NOT_ZERO, |record| record.routing.hint = 0x80),
    (Status::BAD_DELIVERY_MODE, |record| record.routing.delivery_mode = 4),
    (Status::BAD_DESTINATION_MODE, |record| record.routing.destination_mode = 7),
    (Status::BAD_VECTOR, |record| record.routing.vector = 31),
    (Status::BROADCAST, |record| record.routing.destination = u32::MAX),
];

fn j1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    let mapped = fixture.expect(Operation::MAP, &request, Status::OK)?;
    let good = request.with_handle(mapped.handle);
    for (first, (status, _)) in FAULTS.iter().enumerate() {
        let mut record = good;
        FAULTS.iter().skip(first).for_each(|(_, apply)| apply(&mut record));
        fixture.expect(Operation::RETARGET, &record, *status)?;
    }
    fixture.expect(Operation::RETARGET, &good, Status::OK)?;
    // What is mapped comes after all that.
    let mut other = request;
    other.routing.vector ^= 1;
    fixture.expect(Operation::MAP, &other, Status::ALREADY_MAPPED)?;
    other.routing.destination = u32::MAX;
    fixture.expect(Operation::MAP, &other, Status::BROADCAST)?;
    Ok(())
}

fn j2(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    enable_without(fixture, Features::PARKING)?;
    let (routed, ..) = fixture.request(subject, 0)?;
    let with_routing = EntryRecord { flags: EntryFlags::PARKED.bits(), ..routed };
    fixture.expect(Operation::MAP, &with_routing, Status::RESERVED_NOT_ZERO)?;
    let parked = EntryRecord { arch: Arch(0), routing: Routing::default(), ..with_routing };
    fixture.expect(Operation::MAP, &parked, Status::BAD_FLAGS)?;
    let mut unknown = EntryRecord { arch: Arch(0x77), ..routed };
    unknown.routing.hint = 0x80;
    fixture.expect(Operation::MAP, &unknown, Status::BAD_ARCH)?;
    unknown.routing.reserved = 1;
    fixture.expect(Operation::MAP, &unknown, Status::RESERVED_NOT_ZERO)?;
    Ok(())
}

fn j3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (good, ..) = fixture.request(subject, 0)?;
    let to = |destination, destination_mode| {
        let routing = Routing { destination, destination_mode, ..good.routing };
        EntryRecord { routing, ..good }
    };
    fixture.expect(Operation::MAP, &to(u32::MAX, 0), Status::BROADCAST)?;
    if (0..cpu::count()).all(|index| Fixture::apic_id(index) != 0xff) && fixture.features().max_apic_id < 0xff
    {
        fixture.expect(Operation::MAP, &to(0xff, 0), Status::BROADCAST)?;
    }
    if fixture.offered().contains(Features::LOGICAL_DESTINATION) {
        fixture.expect(Operation::MAP, &to(u32::MAX, 1), Status::BROADCAST)?;
        // A cluster of eight: whoever is in it, it is no broadcast.
        let (_, cluster) = fixture.one(Operation::MAP, &to(0xff, 1));
        ensure!(cluster.status != Status::BROADCAST, "logical 0xff is taken for a broadcast");
    }
    Ok(())
}
