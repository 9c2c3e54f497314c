//! Section 5, MAP, what is particular to a store.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Finding, Verdict, ensure};
use pvir_guest::abi::{
    DeviceFlags, DeviceRecord, EntryRecord, Features, Operation, Routing, Status, Store, Stores,
};

pub(super) const TESTS: Tests = &[("M7", m7), ("M8", m8), ("M10", m10), ("M11", m11), ("M12", m12)];

const NO_IMS: &str = "no device here has IMS entries";

fn info(fixture: &mut Fixture, subject: usize) -> Result<DeviceRecord, Finding> {
    let id = fixture.subject(subject)?.id;
    Ok(fixture.one(Operation::DEVICE_INFO, &DeviceRecord::request(id)).1)
}

fn m7(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msi()?;
    let line = fixture.line(subject, 0)?;
    (0..3).try_for_each(|_| fixture.arrives(&line))
}

/// A subject with IMS entries, and their number.
fn ims(fixture: &mut Fixture) -> Result<(usize, DeviceRecord), Finding> {
    fixture.needs(Features::IMS, "the host does not offer IMS")?;
    let subject = fixture.msix()?;
    let info = info(fixture, subject)?;
    if info.ims_entries == 0 { Err(Finding::CannotShow(NO_IMS)) } else { Ok((subject, info)) }
}

/// The device takes the pair from a place that is not its IMS entry's own: another entry of its table, which the host
/// knows nothing of.
fn m8(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let (subject, info) = ims(fixture)?;
    let (request, cpu, vector) = fixture.request(subject, 0)?;
    for index in [0, info.ims_entries - 1] {
        let asked = EntryRecord { store: Store::IMS, index, ..request };
        let entry = fixture.expect(Operation::MAP, &asked, Status::OK)?;
        fixture.subject(subject)?.program(0, entry.pair());
        fixture.arrives(&MappedEntry { subject, index: 0, cpu, vector, entry })?;
        fixture.subject(subject)?.silence();
        let bare = EntryRecord::query(asked.device, Store::IMS, index).with_handle(entry.handle);
        fixture.expect(Operation::UNMAP, &bare, Status::OK)?;
    }
    let beyond = EntryRecord { store: Store::IMS, index: info.ims_entries, ..request };
    fixture.expect(Operation::MAP, &beyond, Status::BAD_INDEX)?;
    Ok(())
}

fn m10(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::MSI_MULTI, "the host does not offer MSI_MULTI")?;
    fixture.enable()?;
    let subject = fixture.msi()?;
    let DeviceRecord { msi_messages: messages, max_irtes, .. } = info(fixture, subject)?;
    let (request, ..) = fixture.request(subject, 0)?;
    for count in [3, messages * 2, 64] {
        fixture.expect(Operation::MAP, &EntryRecord { count, ..request }, Status::BAD_MESSAGE_COUNT)?;
    }
    if messages < 2 {
        return Err(Finding::CannotShow("no device here has MSI with several messages and a driver"));
    }
    let quota = max_irtes.min(fixture.features().max_irtes);
    // The greatest power of two that there is room for.
    let Some(messages) =
        quota.min(messages).checked_ilog2().map(|power| 1 << power).filter(|count| *count > 1)
    else {
        return Err(Finding::CannotShow("the host's quota ends before the second message"));
    };
    let odd = Routing { vector: 0x81, ..request.routing };
    fixture.expect(
        Operation::MAP,
        &EntryRecord { count: messages, routing: odd, ..request },
        Status::BAD_VECTOR,
    )?;
    let before = fixture.features().irtes;
    let even = Routing { vector: 0x80, ..request.routing };
    let asked = EntryRecord { count: messages, routing: even, ..request };
    let entry = fixture.expect(Operation::MAP, &asked, Status::OK)?;
    ensure!(entry.data % messages == 0, "data {:#x} of {messages} messages", entry.data);
    let held = fixture.features().irtes - before;
    ensure!(held == messages, "{messages} messages count as {held}");
    fixture.subject(subject)?.program_msi(entry.pair(), messages);
    (0..messages).zip(0x80..).try_for_each(|(index, vector)| {
        fixture.arrives(&MappedEntry { subject, index, cpu: 0, vector, entry })
    })
}

fn m11(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let (subject, info) = ims(fixture)?;
    let (request, ..) = fixture.request(subject, 0)?;
    let ims = EntryRecord { store: Store::IMS, ..request };
    let behind = EntryRecord { index: info.msix_entries - 1, ..request };
    let first = fixture.expect(Operation::MAP, &ims, Status::OK)?;
    if info.flags & DeviceFlags::EMULATED.bits() != 0 {
        if info.max_irtes.min(fixture.features().max_irtes) < 2 {
            return Err(Finding::CannotShow("the host's quota ends before the second entry"));
        }
        fixture.expect(Operation::MAP, &behind, Status::OK)?;
        return Ok(());
    }
    fixture.expect(Operation::MAP, &behind, Status::BACKING_IN_USE)?;
    let bare = EntryRecord::query(ims.device, Store::IMS, 0).with_handle(first.handle);
    fixture.expect(Operation::UNMAP, &bare, Status::OK)?;
    fixture.expect(Operation::MAP, &behind, Status::OK)?;
    fixture.expect(Operation::MAP, &ims, Status::BACKING_IN_USE)?;
    Ok(())
}

fn m12(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let subject = fixture.msix()?;
    let info = info(fixture, subject)?;
    let msi = Stores::from_bits_retain(info.stores).contains(Stores::MSI);
    ensure!(
        info.msi_messages == 0 && !msi,
        "{} messages of MSI, stores {:#x}",
        info.msi_messages,
        info.stores
    );
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(
        Operation::MAP,
        &EntryRecord { store: Store::MSI, ..request },
        Status::STORE_UNSUPPORTED,
    )?;
    let (id, off) = (fixture.subject(subject)?.id, fixture.subject(subject)?.has_no_live_msi());
    ensure!(off, "{id} has MSI-X, and its MSI can be switched on");
    fixture.reset();
    ensure!(fixture.subject(subject)?.has_no_live_msi(), "{id}: so it can while pvir is not enabled");
    Ok(())
}
