//! A reset by the host's administrator, while the guest has the device: the guest is told that its pairs are stale, takes
//! its entries again, and they work.

use super::{ENTRIES, Subject};
use crate::harness::checks::Checks;
use crate::harness::counted_interrupt::CountedInterrupt;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::Trigger;
use crate::machine::pci::device_id;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::MsixTable;

pub(super) fn run(session: &Session, subject: &Subject<'_>, checks: &mut Checks) {
    let told = told(session, subject, checks);
    let detail = format_args!("{}: told by an event, and all entries work again: {told:?}", subject.name);
    checks.expect("told", told == Some(true), detail);
}

/// None if a step failed before anything was to be told.
fn told(session: &Session, subject: &Subject<'_>, checks: &mut Checks) -> Option<bool> {
    let (mut device, raw) = subject.open(checks)?;
    let table = MsixTable::open(Kernel, device_id(subject.function.address)?).ok()?;
    let wanted = device.vectors().min(raw.len()).min(ENTRIES);
    let first = Vectors::new().take(wanted.into())?;
    let mut lines: ArrayVec<CountedInterrupt, { ENTRIES as usize }> = ArrayVec::new();
    let mut entries: ArrayVec<_, { ENTRIES as usize }> = ArrayVec::new();
    for (index, vector) in (0..wanted).zip(first..) {
        let mut line =
            CountedInterrupt::new(table.origin(index.into()), Destination::on(index.into(), vector)?);
        entries.push(table.claim(index.into())?.program(session.map(line.request()).ok()?).ok()?.unmask());
        line.raise(|| device.raise(index)).then_some(())?;
        device.acknowledge(index);
        lines.push(line);
    }
    let epoch = session.epoch();
    report::checkpoint("live");
    let event = wait_until(PATIENCE_MS, || session.epoch() > epoch);
    device.init();
    let mut works = event;
    for (index, (entry, line)) in (0..).zip(entries.into_iter().zip(&mut lines)) {
        let again = session.reacquire(entry).ok()?.raise_once(|_| ());
        works &= line.raise(|| device.raise(index));
        device.acknowledge(index);
        session.unmap(again.mask().ok()?.retire().1).ok()?;
    }
    Some(works)
}
