//! The steps with pvir: as few calls as entries need, everything else in the device's own table.

use super::{MAX_ENTRIES, Subject, apic_id, place, rounds};
use crate::harness::checks::Checks;
use crate::harness::live_entries::LiveEntry;
use crate::machine::console::report;
use crate::machine::memory::page_vec::PageVec;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::abi::MAX_RECORDS;
use pvir_guest::{BatchMode, Entry, EntryError, Irte, MapRequest, MapResult, MsixTable, NOT_MAPPED, Target};

/// Entries in one call.
const CALL: usize = MAX_RECORDS as usize;

type Table = MsixTable<Kernel>;
type LiveEntries = PageVec<LiveEntry>;

/// More than fit a stack.
struct Scratch {
    requests: PageVec<MapRequest>,
    results: PageVec<MapResult>,
    mapped: PageVec<Irte>,
    given: PageVec<Option<Irte>>,
}

impl Scratch {
    fn new() -> Option<Self> {
        Some(Self {
            requests: PageVec::with_capacity(CALL)?,
            results: PageVec::with_capacity(CALL)?,
            mapped: PageVec::with_capacity(MAX_ENTRIES)?,
            given: PageVec::with_capacity(MAX_ENTRIES)?,
        })
    }
}

pub(super) fn run(session: &Session, subject: &mut Subject, checks: &mut Checks) {
    let table = match MsixTable::open(Kernel, subject.id) {
        Ok(table) => table,
        Err(error) => return checks.expect("device", false, format_args!("{error}")),
    };
    let list = || PageVec::with_capacity(MAX_ENTRIES);
    let (Some(scratch), Some(mut live), Some(mut back)) = (&mut Scratch::new(), list(), list()) else {
        return checks.expect("memory", false, format_args!("no pages for the entries"));
    };
    let entries = subject.entries;

    report::checkpoint("opened");
    if !map(session, &table, entries, scratch, checks) {
        return;
    }
    report::checkpoint("mapped");
    program(&table, scratch, &mut live);
    checks.expect("program", live.len() == entries, format_args!("{} of {entries} entries", live.len()));
    report::checkpoint("programmed");
    if !mask_and_unmask(&mut live, &mut back, checks) {
        return;
    }
    let mut live = back;
    report::checkpoint("masked");
    let pending = live.iter().filter(|entry| entry.is_pending() == Some(true)).count();
    checks.expect("pending", pending == 0, format_args!("{pending} of {entries} are pending"));
    report::checkpoint("pending");
    retarget(session, &mut live, checks);
    report::checkpoint("retargeted");
    subject.flow.deliver(entries, checks);
    retire(&mut live, scratch);
    report::checkpoint("masked-for-good");
    unmap(session, entries, scratch, checks);
    report::checkpoint("unmapped");
}

fn target(entry: usize, moved: bool) -> Target {
    let (cpu, vector) = place(entry, moved);
    Target::fixed(apic_id(cpu), vector)
}

fn map(session: &Session, table: &Table, entries: usize, scratch: &mut Scratch, checks: &mut Checks) -> bool {
    let Scratch { requests, results, mapped, .. } = scratch;
    let mut calls = 0;
    for first in (0..entries).step_by(CALL) {
        let part = first..entries.min(first + CALL);
        requests.clear();
        // A table has 2048 entries at most.
        let origin = |entry| table.origin(u32::try_from(entry).unwrap_or(u32::MAX));
        requests.extend(part.clone().map(|entry| MapRequest::new(origin(entry), target(entry, false))));
        results.clear();
        results.extend(part.map(|_| NOT_MAPPED));
        calls += 1;
        if let Err(error) = session.map_batch(requests, results, BatchMode::AllOrNothing) {
            checks.expect("map", false, format_args!("call {calls}: {error:?}"));
            return false;
        }
        mapped.extend(results.drain(CALL).filter_map(Result::ok));
    }
    let all = mapped.len() == entries;
    checks.expect("map", all, format_args!("{entries} entries, {calls} calls"));
    all
}

/// Programs and unmasks each.
fn program(table: &Table, scratch: &mut Scratch, live: &mut LiveEntries) {
    for (index, irte) in (0..).zip(scratch.mapped.drain(MAX_ENTRIES)) {
        let programmed = table.claim(index).and_then(|entry| entry.program(irte).ok());
        live.extend(programmed.map(Entry::unmask));
    }
}

fn mask_and_unmask(live: &mut LiveEntries, back: &mut LiveEntries, checks: &mut Checks) -> bool {
    let (entries, rounds) = (live.len(), rounds(live.len()));
    for mut entry in live.drain(MAX_ENTRIES) {
        for _ in 0..rounds {
            let Ok(masked) = entry.mask() else {
                checks.expect("mask", false, format_args!("an entry does not stay masked"));
                return false;
            };
            entry = masked.unmask();
        }
        back.push(entry);
    }
    checks.expect("mask", true, format_args!("{entries} entries, {rounds} times each"));
    true
}

fn retarget(session: &Session, live: &mut LiveEntries, checks: &mut Checks) {
    let wanted = live.len();
    let mut done = 0;
    for (part, first) in live.chunks_mut(CALL).zip((0..).step_by(CALL)) {
        let targets: ArrayVec<Target, CALL> =
            (first..first + part.len()).map(|entry| target(entry, true)).collect();
        let mut results: ArrayVec<_, CALL> = targets.iter().map(|_| Err(EntryError::NotAsked)).collect();
        match session.retarget_batch(part, &targets, &mut results, BatchMode::AllOrNothing) {
            Ok(moved) => done += moved,
            Err(error) => return checks.expect("retarget", false, format_args!("{error:?}")),
        }
    }
    checks.expect("retarget", done == wanted, format_args!("{done} of {wanted} entries"));
}

/// Masks each and takes its IRTE.
fn retire(live: &mut LiveEntries, scratch: &mut Scratch) {
    let masked = live.drain(MAX_ENTRIES).filter_map(|entry| entry.mask().ok());
    scratch.given.extend(masked.map(|entry| Some(entry.retire().1)));
}

fn unmap(session: &Session, wanted: usize, scratch: &mut Scratch, checks: &mut Checks) {
    let mut done = 0;
    for part in scratch.given.chunks_mut(CALL) {
        let mut results: ArrayVec<_, CALL> = part.iter().map(|_| Err(EntryError::NotAsked)).collect();
        match session.unmap_batch(part, &mut results, BatchMode::AllOrNothing) {
            Ok(given) => done += given,
            Err(error) => return checks.expect("unmap", false, format_args!("{error:?}")),
        }
    }
    checks.expect("unmap", done == wanted, format_args!("{done} of {wanted} entries"));
}
