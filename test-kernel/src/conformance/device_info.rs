//! Section 5, DEVICE_INFO.

use super::Tests;
use super::fixture::Fixture;
use super::refused::enable_without;
use super::verdict::{Finding, Told, Verdict, ensure};
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeviceId, DeviceRecord, Features, Operation, Status, Stores};

pub(super) const TESTS: Tests = &[("I1", i1), ("I2", i2), ("I3", i3)];

fn i1(fixture: &mut Fixture) -> Verdict {
    let devices = fixture.features().devices;
    let served = fixture.subjects.iter().map(|subject| subject.id).collect::<ArrayVec<_, 4>>();
    let mut known = 0;
    for (place, id) in served.iter().enumerate() {
        let (_, record) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(*id));
        if record.status == Status::NO_DEVICE {
            continue;
        }
        known += 1;
        ensure!(record.status == Status::OK, "{id}: {}", Told(record.status));
        ensure!(record.device == *id, "{id} came back as {}", record.device);
        let stores = Stores::from_bits_retain(record.stores);
        let table = fixture
            .subjects
            .get(place)
            .and_then(|subject| subject.table().map(|table| u32::from(table.len())));
        let entries = if stores.contains(Stores::MSIX) { record.msix_entries } else { 0 };
        ensure!(table.is_none_or(|len| entries <= len), "{id}: {entries} entries of a table of {table:?}");
        ensure!(table.is_some() || !stores.contains(Stores::MSIX), "{id} has no MSI-X: {stores:?}");
    }
    if served.is_empty() {
        return Err(Finding::CannotShow("no device here has MSI-X or MSI"));
    }
    ensure!(known > 0, "none of {} devices of configuration space is known to the host", served.len());
    ensure!(known <= devices, "FEATURES says {devices} devices, {known} answer");
    Ok(())
}

fn i2(fixture: &mut Fixture) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let id = fixture.subject(subject)?.id;
    let strangers = [
        DeviceId { segment: id.segment ^ 0x8000, ..id },
        DeviceId { bdf: pvir_guest::abi::Bdf(id.bdf.0 ^ 0x7f00), ..id },
        DeviceId { segment: u16::MAX, bdf: pvir_guest::abi::Bdf(u16::MAX) },
    ];
    for stranger in strangers {
        let (answer, record) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(stranger));
        let refused = (answer.status, record.status) == (Status::PARTIAL, Status::NO_DEVICE);
        ensure!(refused, "{stranger}: {answer}, {}", Told(record.status));
        let silent = DeviceRecord { status: Status::PENDING, ..record } == DeviceRecord::request(stranger);
        ensure!(silent, "{stranger}: a record that failed says {record:x?}");
    }
    fixture.enable()?;
    let line = fixture.line(subject, 0)?;
    let (_, first) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    let (_, second) = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
    ensure!(first == second, "two answers in a row differ: {first:x?} {second:x?}");
    ensure!(
        first.irtes == 1 && first.irtes <= first.max_irtes,
        "irtes {} of {}",
        first.irtes,
        first.max_irtes
    );
    fixture.arrives(&line)
}

fn i3(fixture: &mut Fixture) -> Verdict {
    let id = fixture.subjects.first().ok_or(Finding::CannotShow("no device here has MSI-X or MSI"))?.id;
    let ask = |fixture: &Fixture| fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id)).1;
    let before = ask(fixture);
    let served = [
        (Stores::MSI, "MSI", before.msi_messages),
        (Stores::MSIX, "MSIX", before.msix_entries),
        (Stores::IMS, "IMS", before.ims_entries),
    ];
    for (bit, name, entries) in served {
        let said = Stores::from_bits_retain(before.stores).contains(bit);
        ensure!(said == (entries > 0), "{id}: {entries} entries of {name}, and its bit in stores is {said}");
    }
    enable_without(fixture, Features::IMS | Features::MSI_MULTI | Features::PARKING)?;
    let enabled = ask(fixture);
    ensure!(enabled == before, "{id}: {before:x?} before ENABLE, {enabled:x?} after it");
    fixture.reset();
    fixture.enable()?;
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    fixture.line(subject, 0)?;
    let of = fixture.subject(subject)?.id;
    let held = fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(of)).1.irtes;
    ensure!(held == 1, "{of}: one message is mapped, irtes is {held}");
    Ok(())
}
