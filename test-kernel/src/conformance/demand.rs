//! Events on demand: how the suite has the host raise one, and how it sees that it was announced.
//!
//! A device that has a register for it is written to. Otherwise, with `events=host` on the command line, the kernel prints
//! a line and whoever runs the host raises the event: `@pvir-event-wanted REASON DEVICE`, where REASON is the number of the
//! page, or 0 to let a device go on.

use super::fixture::Fixture;
use super::verdict::{Finding, Verdict, ensure, wrong};
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::wait_until;
use crate::machine::memory::dma::Dma;
use crate::println;
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_guest::abi::{EnableRecord, EventReason, Features, GuestPhysAddr, Operation, Status};
use spin::Once;

/// Milliseconds for a human or a program that was asked by a line on the console.
const HOST_MS: u64 = 30_000;
/// The reasons that a host is asked for by the console: a device that has gone does not come back there.
const BY_CONSOLE: u32 = 1 << EventReason::STALE_PAIRS.0 | 1 << EventReason::DEVICE_CUT_OFF.0;

/// The event area of sessions with NOTIFY, where a handler reads it.
static AREA: Once<Option<Dma>> = Once::new();
/// The epoch in the area when the vector came last.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// The epoch in the area. The suite never sees 2^32 events.
fn epoch_in_area() -> u64 {
    AREA.get().and_then(Option::as_ref).map_or(0, |area| area.read(0).into())
}

fn note(_vector: u8) {
    LATEST.store(epoch_in_area(), Ordering::Release);
}

/// A session that has its events announced.
pub(super) struct Announced {
    cpu: usize,
    pub(super) vector: u8,
}

impl Announced {
    /// How many announcements have come.
    pub(super) fn count(&self) -> u64 {
        interrupts::count(self.cpu, self.vector)
    }

    /// The epoch in the area when the latest one came.
    pub(super) fn latest(&self) -> u64 {
        LATEST.load(Ordering::Acquire)
    }

    /// Whether one came when the area said at least this.
    pub(super) fn has_seen(&self, epoch: u64) -> bool {
        self.latest() >= epoch
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        interrupts::set_handler(self.vector, None);
    }
}

impl Fixture {
    /// A device for which the host raises such an event: one that can be raised.
    pub(super) fn raises(&self, reason: EventReason) -> Result<usize, Finding> {
        let on_demand = |place: &usize| {
            let by_register = self.subjects.get(*place).map_or(0, super::subject::Subject::events);
            let by_console = if self.events_by_host { BY_CONSOLE } else { 0 };
            (by_register | by_console) >> reason.0 & 1 != 0
        };
        let asked = self.driven()?.into_iter().find(on_demand);
        asked.ok_or(Finding::CannotShow("the host raises no such event on demand"))
    }

    /// ENABLE with NOTIFY, to a CPU.
    pub(super) fn enable_announced(&mut self, cpu: usize) -> Result<Announced, Finding> {
        let area = AREA.call_once(|| Dma::allocate(64)).ok_or(Finding::CannotShow("no memory"))?;
        let announced = Announced { cpu, vector: self.vector() };
        interrupts::set_handler(announced.vector, Some(note));
        let features = self.offered() | Features::NOTIFY;
        let record = EnableRecord {
            notify_apic_id: Self::apic_id(cpu),
            notify_vector: announced.vector.into(),
            ..EnableRecord::request(features, Some(GuestPhysAddr(area.address())))
        };
        let (answer, got) = self.one(Operation::ENABLE, &record);
        if answer.status == Status::REFUSED {
            return Err(Finding::CannotShow("the host refuses ENABLE"));
        }
        let told = (answer.status, got.status) == (Status::OK, Status::OK);
        ensure!(told, "ENABLE with NOTIFY: {answer}, record {:?}", got.status);
        LATEST.store(0, Ordering::Release);
        Ok(announced)
    }

    /// Has the host raise an event of a device, and waits until headers say that the epoch has changed.
    pub(super) fn event(&mut self, subject: usize, reason: EventReason) -> Verdict {
        let before = self.epoch();
        let patience = self.demand(subject, reason)?;
        let came = wait_until(patience, || self.epoch() > before);
        if came { Ok(()) } else { Err(wrong(format_args!("{reason:?} was asked for, and no epoch came"))) }
    }

    /// Has the host let a device go on, or bring it back, and waits until it has. Where it was asked for by the console,
    /// pvir is enabled for that and disabled again, unless it was enabled before: nothing else says when it has.
    pub(super) fn settle(&mut self, subject: usize) -> Verdict {
        let patience = self.demand(subject, EventReason::NONE)?;
        let enabled = !self.is_settled_at_once(subject) && self.epoch() == 0 && self.enable().is_ok();
        let back = wait_until(patience, || self.goes_on(subject));
        if enabled {
            self.disable()?;
        }
        ensure!(back, "the device does not go on");
        Ok(())
    }

    /// Whether what [`settle`](Self::settle) asks for has happened when it was asked for.
    pub(super) fn is_settled_at_once(&self, subject: usize) -> bool {
        self.subjects.get(subject).is_some_and(|subject| subject.events() != 0)
    }

    /// Has the host raise an event of a device, or end what one has left. Answers with the milliseconds that it may take.
    pub(super) fn demand(&mut self, place: usize, reason: EventReason) -> Result<u64, Finding> {
        let patience = self.patience_ms;
        let subject = self.subject(place)?;
        if subject.events() != 0 {
            subject.demand(reason);
            return Ok(patience);
        }
        println!("@pvir-event-wanted {} {}", reason.0, subject.id);
        self.stopped_by_host = Some(place).filter(|_| reason == EventReason::DEVICE_CUT_OFF);
        Ok(patience.max(HOST_MS))
    }
}
