//! Section 2: conduits.

use super::fixture::Fixture;
use super::verdict::{Finding, Told, Verdict, ensure, wrong};
use super::{Tests, second_cpu};
use crate::raw::{Raw, instructions, ram, ring3};
use arrayvec::ArrayVec;
use pvir_guest::abi::{
    Conduits, DeviceId, EntryRecord, FeaturesRecord, GuestPhysAddr, Header, Operation, Status, Store,
    block_len,
};

pub(super) const TESTS: Tests =
    &[("C1", c1), ("C2", c2), ("C3", c3), ("C4", c4), ("C5", c5), ("C6", c6), ("C8", c8)];

const PAGE: usize = 4096;
/// How often what might happen now and then is tried.
const OFTEN: u64 = 100;

fn c1(fixture: &mut Fixture) -> Verdict {
    for (name, conduit) in &fixture.conduits {
        let raw = fixture.raw.by(*conduit);
        for _ in 0..OFTEN {
            raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
            raw.call_at(raw.address());
            let statuses = (raw.read::<Header>(0).status, raw.read::<FeaturesRecord>(1).status);
            ensure!(statuses == (Status::OK, Status::OK), "{name}: {statuses:?} after the call");
        }
    }
    Ok(())
}

fn c2(fixture: &mut Fixture) -> Verdict {
    let all = [Conduits::VMCALL, Conduits::VMMCALL, Conduits::MSR, Conduits::PORT];
    let raw = &fixture.raw;
    for conduit in all.into_iter().filter(|conduit| fixture.discovered.usable.contains(*conduit)) {
        raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        let kept = instructions::keeps_registers(&fixture.discovered, conduit, raw.address());
        ensure!(kept, "conduits {:#x}: a register changed", conduit.bits());
    }
    let behind = block_len(1)..Raw::PAGES_LEN;
    behind.clone().for_each(|at| raw.set_byte(at, 0xa5));
    raw.fill_spare(0xa5);
    fixture.features();
    let changed = behind.clone().find(|at| raw.byte(*at) != 0xa5);
    behind.for_each(|at| raw.set_byte(at, 0));
    let far = changed.unwrap_or_default().saturating_sub(block_len(1));
    ensure!(changed.is_none(), "memory {far} bytes behind the end of the block was written");
    ensure!(raw.spare_bytes::<4096>(0) == [0xa5; 4096], "a page that is no block was written");
    Ok(())
}

fn c3(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let nowhere = EntryRecord::query(DeviceId { segment: 0xffff, ..DeviceId::default() }, Store::MSIX, 0);
    for (name, conduit) in &fixture.conduits {
        let raw = fixture.raw.by(*conduit);
        let good = raw.call(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        let partial = raw.call(&Raw::header(Operation::QUERY, 1), &[nowhere]);
        let bad = raw.call(&Header { magic: 0, ..Raw::header(Operation::QUERY, 1) }, &[nowhere]);
        for (answer, expected) in [(good, Status::OK), (partial, Status::PARTIAL), (bad, Status::BAD_MAGIC)] {
            let told = (answer.status, answer.header.status);
            ensure!(told == (expected, expected), "{name}: conduit and header say {told:?}");
        }
        raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        let unaligned = GuestPhysAddr(raw.address().0 + 64);
        if pvir_guest::Conduit::reaches(conduit, unaligned) {
            let status = raw.call_at(unaligned);
            ensure!(status == Status::UNALIGNED, "{name}: an unaligned block gets {}", Told(status));
        }
        let header = raw.read::<Header>(0).status;
        ensure!(header == Status::PENDING, "{name}: the header of a refused block says {}", Told(header));
    }
    records_out_of_ram(fixture)?;
    each_vcpu_has_its_own(fixture)
}

/// The header lies in RAM and the records do not: both say so.
fn records_out_of_ram(fixture: &Fixture) -> Verdict {
    let (raw, most) = (&fixture.raw, fixture.discovered.host.max_records);
    if block_len(most) <= PAGE {
        return Ok(()); // the longest block of this host fits into a page
    }
    let last = ram::last_page(raw).ok_or_else(|| wrong(format_args!("the end of RAM was not found")))?;
    if Raw::plant(last, &Raw::header(Operation::QUERY, most)) {
        let status = raw.call_at(last);
        let header = Raw::planted(last).map_or(Status::PENDING, |header| header.status);
        let told = (status, header) == (Status::BAD_ADDRESS, Status::BAD_ADDRESS);
        ensure!(told, "records beyond RAM: conduit {}, header {}", Told(status), Told(header));
    }
    Ok(())
}

/// MSR and port answer the last call of the same vCPU, and all ones before its first.
fn each_vcpu_has_its_own(fixture: &Fixture) -> Verdict {
    let (Some(before), Ok(())) = (second_cpu::before_first(), second_cpu::needed()) else { return Ok(()) };
    ensure!(before == 0xffff_ffff, "before its first call a vCPU reads {before:#x}");
    second_cpu::run(second_cpu::ask_features, 1)?;
    fixture.raw.call::<EntryRecord>(&Header { magic: 0, ..Raw::header(Operation::QUERY, 1) }, &[]);
    // Each conduit that can be asked, on each vCPU.
    for conduit in [Conduits::MSR, Conduits::PORT] {
        if fixture.discovered.usable.contains(conduit) {
            let other = second_cpu::run(second_cpu::last, conduit.bits().into())?;
            ensure!(other == 0, "the second vCPU's last call was OK, its status is {other:#x}");
            let own = instructions::last_status(&fixture.discovered, conduit);
            let expected = Some(Status::BAD_MAGIC.0);
            ensure!(own == expected, "the last call was refused with {expected:x?}, its status is {own:x?}");
        }
    }
    Ok(())
}

fn c4(fixture: &mut Fixture) -> Verdict {
    let mut verdict = Ok(());
    ring3::each(&fixture.raw, &fixture.discovered, |attempt| {
        if !attempt.is_refused() {
            let ring3::Attempt { name, outcome, untouched } = attempt;
            verdict = Err(wrong(format_args!("{name}: {outcome:x?}, the block is untouched: {untouched}")));
        }
    });
    verdict
}

fn c5(fixture: &mut Fixture) -> Verdict {
    let port = fixture.discovered.host.port;
    if port == 0 {
        return Err(Finding::CannotShow("the host has no port"));
    }
    fixture.features();
    let raw = &fixture.raw;
    raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
    let page = u32::try_from(raw.address().0 >> 12).unwrap_or(0);
    let narrow = instructions::port_in_narrow(port);
    ensure!(narrow == (0xff, 0xffff), "narrow reads answer {narrow:x?}");
    let beside = instructions::port_in_narrow(port + 1);
    ensure!(beside == (0xff, 0xffff), "reads beside the port answer {beside:x?}");
    instructions::port_out_narrow(port, page);
    let status = raw.read::<Header>(0).status;
    ensure!(status == Status::PENDING, "a narrow write was taken for a call: {}", Told(status));
    Ok(())
}

fn c6(fixture: &mut Fixture) -> Verdict {
    second_cpu::needed()?;
    fixture.enable()?;
    let subject = fixture.msix()?;
    let most = fixture.subject(subject)?.entries.min(fixture.discovered.host.max_records).min(4);
    let mut requests = ArrayVec::<EntryRecord, 4>::new();
    for index in 0..most {
        requests.push(fixture.request(subject, index)?.0);
    }
    let came = second_cpu::meanwhile(second_cpu::ask_features, OFTEN, || {
        for _ in 0..OFTEN / 4 {
            let answer = fixture.call(Operation::MAP, &requests);
            ensure!((answer.status, answer.header.done) == (Status::OK, most), "MAP: {answer}");
            let mapped = (1..=requests.len()).map(|unit| {
                let EntryRecord { device, store, index, handle, .. } = fixture.raw.read::<EntryRecord>(unit);
                EntryRecord::query(device, store, index).with_handle(handle)
            });
            let back: ArrayVec<EntryRecord, 4> = mapped.collect();
            let answer = fixture.call(Operation::UNMAP, &back);
            ensure!((answer.status, answer.header.done) == (Status::OK, most), "UNMAP: {answer}");
        }
        Ok(())
    })?;
    let (good, seen) = (came & 0xffff_ffff, came >> 32);
    ensure!(good == OFTEN, "{good} of {OFTEN} calls of the second vCPU were OK");
    ensure!(seen & !(1 | 1 << most) == 0, "a call was seen half done: numbers of IRTEs {seen:#b}");
    Ok(())
}

fn c8(fixture: &mut Fixture) -> Verdict {
    let raw = &fixture.raw;
    let wide = fixture.discovered.usable & (Conduits::VMCALL | Conduits::VMMCALL | Conduits::MSR);
    if wide.is_empty() {
        return Err(Finding::CannotShow(
            "the port is the only conduit that is used here, and it answers 32 bits",
        ));
    }
    for conduit in wide.iter() {
        // A status whose 32 bits say something, and one whose 32 bits are zero.
        let good = Raw::header(Operation::FEATURES, 1);
        for (header, expected) in [(Header { magic: 0, ..good }, Status::BAD_MAGIC), (good, Status::OK)] {
            raw.write(&header, &[FeaturesRecord::request()]);
            let answer = instructions::guarded_call(&fixture.discovered, conduit, raw.address());
            let right = answer == Ok(u64::from(expected.0));
            ensure!(right, "conduits {:#x}: {answer:x?}, not {expected:?}", conduit.bits());
        }
    }
    Ok(())
}
