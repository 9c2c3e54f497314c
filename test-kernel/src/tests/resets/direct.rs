//! Resets of a device that the guest programs itself.

use super::{ENTRIES, Subject};
use crate::harness::checks::Checks;
use crate::harness::counted_interrupt::CountedInterrupt;
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::machine::pci::device_id;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::println;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::{Entry, Live, MsixEntry, MsixTable};

/// So many times each raises, at the end, and every one is counted.
const EXACT: u32 = 10;
/// In two of so many rounds the guest listens whether something comes that should not.
const LISTEN: u64 = 50;
/// Microseconds between two rounds of the emulated device's own traffic.
const INTERVAL: u32 = 20;

type LiveEntry = Entry<MsixEntry<Kernel>, Live>;
type Entries = ArrayVec<LiveEntry, { ENTRIES as usize }>;
type Lines = ArrayVec<CountedInterrupt, { ENTRIES as usize }>;

pub(super) fn run(session: &Session, subject: &Subject<'_>, (rounds, each): (u64, u64), checks: &mut Checks) {
    let mut done = 0;
    let finished = all(session, subject, (rounds, each), &mut done, checks);
    let detail = format_args!("{}: {done} of {rounds} resets", subject.name);
    checks.expect("direct", done == rounds && finished.is_some(), detail);
    report::event("resets", |event| {
        event.str("device", subject.name).num("resets", done);
    });
}

fn all(
    session: &Session,
    subject: &Subject<'_>,
    (rounds, each): (u64, u64),
    done: &mut u64,
    checks: &mut Checks,
) -> Option<()> {
    let id = device_id(subject.function.address)?;
    let (mut device, raw) = subject.open(checks)?;
    let table = MsixTable::open(Kernel, id).ok()?;
    let wanted = device.vectors().min(raw.len()).min(ENTRIES);
    let first = Vectors::new().take(wanted.into())?;
    let mut lines = Lines::new();
    let mut entries = Entries::new();
    for (index, vector) in (0..wanted).zip(first..) {
        let line = CountedInterrupt::new(table.origin(index.into()), Destination::on(index.into(), vector)?);
        let irte = session.map(line.request()).ok()?;
        lines.push(line);
        entries.push(table.claim(index.into())?.program(irte).ok()?.unmask());
    }
    let epoch = session.epoch();
    setup::baseline(*done, each);
    while *done < rounds {
        let round = Round { session, subject, raw: &raw, number: *done };
        entries = round.run(&mut device, entries, &mut lines)?;
        round.step(session.epoch() == epoch, "the epoch is another")?;
        *done += 1;
        setup::baseline(*done, each);
    }
    exact(&mut device, &lines, subject, checks);
    for entry in entries {
        session.unmap(entry.mask().ok()?.retire().1).ok()?;
    }
    raw.set_capability(false, false);
    Some(())
}

/// One reset, and what comes before and after it.
struct Round<'a> {
    session: &'a Session,
    subject: &'a Subject<'a>,
    raw: &'a RawMsixTable,
    number: u64,
}

impl Round<'_> {
    fn run(&self, device: &mut Device, mut entries: Entries, lines: &mut Lines) -> Option<Entries> {
        let Self { session, subject, raw, number } = *self;
        for (index, line) in (0..).zip(lines.iter_mut()) {
            self.step(line.raise(|| device.raise(index)), "an entry does not arrive before the reset")?;
            device.acknowledge(index);
        }
        // One is parked and has something held, one is masked and pending, the others go as they come.
        let parks = number % 2 == 0 && session.limits().features.contains(pvir_guest::abi::Features::PARKING);
        if parks {
            session.park(entries.last_mut()?).ok()?;
        }
        raw.set_masked_at_once(0, true);
        device.raise(0);
        self.step(wait_until(PATIENCE_MS, || raw.is_pending(0)), "a masked entry is not pending")?;
        (1..u16::try_from(lines.len()).ok()?).for_each(|index| device.raise(index));
        if let Device::Emulated(emulated) = &*device {
            emulated.run(0, lines.len().try_into().ok()?, INTERVAL, u32::MAX);
            wait_until(number % 3, || false);
        }
        self.step(subject.reset(device, raw).is_some(), "the device is not as a reset leaves it")?;
        raw.set_capability(true, false);
        let listens = number % LISTEN < 2;
        // What was on its way to a processor when the device was reset.
        wait_until(if listens { QUIET_MS } else { 0 }, || false);
        let before = interrupts::grand_total();
        let mut programmed = Entries::new();
        for entry in entries {
            let known = session.verify(&entry).ok();
            self.step(known.is_some(), "the host does not know an entry as it was")?;
            let (masked, irte) = entry.mask().ok()?.retire();
            programmed.push(masked.program(irte).ok()?.unmask());
        }
        if parks {
            session.retarget(programmed.last_mut()?, lines.last()?.place().target()).ok()?;
        }
        if listens {
            let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() > before);
            self.step(quiet, "something comes of what was pending before the reset")?;
        }
        for (index, line) in (0..).zip(lines.iter_mut()) {
            self.step(line.raise(|| device.raise(index)), "an entry does not arrive after the reset")?;
            device.acknowledge(index);
        }
        Some(programmed)
    }

    fn step(&self, right: bool, otherwise: &str) -> Option<()> {
        if !right {
            println!("{}, reset {}: {otherwise}", self.subject.name, self.number);
        }
        right.then_some(())
    }
}

/// Every interrupt that is raised comes once, and where it should.
fn exact(device: &mut Device, lines: &Lines, subject: &Subject<'_>, checks: &mut Checks) {
    wait_until(QUIET_MS, || false);
    for (index, line) in (0..).zip(lines) {
        let mut line = CountedInterrupt::new(line.origin(), line.place());
        for _ in 0..EXACT {
            line.raise(|| device.raise(index));
            device.acknowledge(index);
        }
        let sum = line.report("after-resets", 0);
        checks.expect("exact", sum.is_exact(), format_args!("{} entry {index}: {sum}", subject.name));
    }
}
