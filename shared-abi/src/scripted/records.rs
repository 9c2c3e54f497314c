//! Answers in the records of FEATURES, ENABLE, DEVICE_INFO, ATTACH and DETACH.

use super::{Answer, AnswerKind, Change, Draft, STRANGER};
use crate::{
    AttachRecord, DeviceFlags, DeviceRecord, EnableRecord, FeaturesRecord, Operation, Refusal, Status,
    Stores, Version,
};
use alloc::format;
use alloc::vec::Vec;

pub(super) fn features(honest: &Answer, all: &mut Vec<Answer>) {
    let changes: [Change<FeaturesRecord>; 9] = [
        ("another oldest version", |record| record.oldest = Version(record.oldest.0 + 1)),
        ("another newest version", |record| record.newest = Version(record.newest.0 + 1)),
        ("another number of records", |record| record.max_records -= 1),
        ("another feature", |record| record.features ^= 1 << 40),
        ("another conduit", |record| record.conduits ^= 1),
        ("a feature enabled that is not offered", |record| record.enabled = 1 << 50),
        ("more IRTEs than there may be", |record| record.irtes = record.max_irtes + 1),
        ("a reserved field", |record| record.reserved1 = 1),
        ("another reserved field", |record| record.reserved2 = 1 << 63),
    ];
    for (name, change) in changes {
        Draft::add(honest, all, AnswerKind::Hostile, name, |draft| draft.change(0, change));
    }
    let legal: [Change<FeaturesRecord>; 2] = [
        ("nothing may be mapped", |record| record.max_irtes = 0),
        ("no device", |record| record.devices = 0),
    ];
    for (name, change) in legal {
        Draft::add(honest, all, AnswerKind::Legal, name, |draft| draft.change(0, change));
    }
}

pub(super) fn enable(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    let refused = |reason: Refusal| {
        let mut draft = sent.clone();
        draft.change(0, |record: &mut EnableRecord| {
            *record = EnableRecord { status: Status::REFUSED, refusal: reason, device: STRANGER, ..*record };
        });
        draft.header.epoch = 0;
        draft.say(Status::REFUSED);
        draft
    };
    let known = Refusal::ALL.iter().map(|(reason, _)| *reason).filter(|reason| *reason != Refusal::NONE);
    for reason in known.chain([Refusal(0x7777)]) {
        all.push(refused(reason).into_answer(format!("refused: {reason:?}"), AnswerKind::Legal));
    }
    all.push(refused(Refusal::NONE).into_answer("refused without a reason".into(), AnswerKind::Hostile));
    let changes: [Change<EnableRecord>; 9] = [
        ("a device, and nothing was refused", |record| record.device = STRANGER),
        ("a reason, and nothing was refused", |record| record.refusal = Refusal::POLICY),
        ("other features", |record| record.features ^= 1 << 20),
        ("another event area", |record| record.event_area.0 ^= 64),
        ("another APIC id", |record| record.notify_apic_id ^= 1),
        ("another vector", |record| record.notify_vector ^= 1),
        ("a reserved field", |record| record.reserved0 = 1),
        ("another reserved field", |record| record.reserved1[2] = 1 << 63),
        ("the record failed", |record| record.status = Status::REFUSED),
    ];
    for (name, change) in changes {
        Draft::add(honest, all, AnswerKind::Hostile, name, |draft| draft.change(0, change));
    }
}

/// The answer that all are made from: a device with everything.
pub(super) fn device(record: &mut DeviceRecord) {
    *record = DeviceRecord {
        status: Status::OK,
        stores: (Stores::MSIX | Stores::IMS).bits(),
        flags: (DeviceFlags::DIRECT | DeviceFlags::DYNAMIC).bits(),
        msix_entries: 2048,
        ims_entries: 2048,
        max_irtes: 4096,
        ..*record
    };
}

pub(super) fn devices(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    for place in 0..sent.records() {
        let failed = |leak: fn(&mut DeviceRecord)| {
            let mut draft = Draft::of(honest);
            let mut record: DeviceRecord = sent.record(place);
            record.status = Status::NO_DEVICE;
            leak(&mut record);
            draft.set(place, &record);
            draft.header.done -= 1;
            draft.say(Status::PARTIAL);
            draft
        };
        let name = format!("record {place} is NO_DEVICE");
        all.push(failed(|_| ()).into_answer(name, AnswerKind::Legal));
        let name = format!("record {place} is NO_DEVICE and has entries");
        all.push(failed(|record| record.msix_entries = 1).into_answer(name, AnswerKind::Hostile));
        changes(honest, place, all);
    }
}

fn changes(honest: &Answer, place: usize, all: &mut Vec<Answer>) {
    use AnswerKind::{Hostile, Legal};
    let changes: [(AnswerKind, Change<DeviceRecord>); 9] = [
        (Legal, ("no store", |record| (record.stores, record.msix_entries) = (0, 0))),
        (Legal, ("stores of a later version", |record| record.stores |= 1 << 31)),
        (Legal, ("flags of a later version", |record| record.flags |= 1 << 31)),
        (Hostile, ("another device", |record| record.device = STRANGER)),
        (Hostile, ("more entries than a table has", |record| record.msix_entries = 2049)),
        (Hostile, ("more messages than MSI has", |record| record.msi_messages = 33)),
        (Hostile, ("more IRTEs than it may hold", |record| record.irtes = record.max_irtes + 1)),
        (Hostile, ("a reserved field", |record| record.reserved0 = 1)),
        (Hostile, ("another reserved field", |record| record.reserved1[0] = 1)),
    ];
    for (kind, (name, change)) in changes {
        Draft::add(honest, all, kind, format!("record {place}: {name}"), |draft| draft.change(place, change));
    }
}

pub(super) fn attached(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    use AnswerKind::{Hostile, Legal};
    let attach = sent.header.operation == Operation::ATTACH;
    for place in 0..sent.records() {
        let mut failed = |kind, name: &str, status, refusal| {
            let mut draft = Draft::of(honest);
            let record: AttachRecord = sent.record(place);
            draft.set(place, &AttachRecord { status, refusal, ..record });
            draft.header.done -= 1;
            draft.say(Status::PARTIAL);
            all.push(draft.into_answer(format!("record {place}: {name}"), kind));
        };
        failed(Legal, "no such device", Status::NO_DEVICE, Refusal::NONE);
        failed(Hostile, "no such device, and a reason", Status::NO_DEVICE, Refusal::POLICY);
        // A device is refused when it is taken, and never when it is given back.
        let refused = if attach { Legal } else { Hostile };
        failed(refused, "refused", Status::REFUSED, Refusal::SHARED_GROUP);
        failed(Hostile, "refused without a reason", Status::REFUSED, Refusal::NONE);
        let changes: [Change<AttachRecord>; 4] = [
            ("another device", |record| record.device = STRANGER),
            ("a reason, and nothing was refused", |record| record.refusal = Refusal::POLICY),
            ("a reserved field", |record| record.reserved0 = 1),
            ("another reserved field", |record| record.reserved1[5] = 1 << 63),
        ];
        for (name, change) in changes {
            Draft::add(honest, all, Hostile, format!("record {place}: {name}"), |d| d.change(place, change));
        }
    }
}
