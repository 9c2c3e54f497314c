//! One interrupt: where it must arrive, how often it was raised, and how often it came.

use super::vectors::Destination;
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use core::fmt;
use pvir_guest::abi::Status;
use pvir_guest::{Error, Irte, MapRequest, Origin};

/// One message on its way to one vector of one processor. No other message has that vector meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedInterrupt {
    origin: Origin,
    place: Destination,
    raised: u64,
    lost: u64,
    /// Counts before the first was raised: there, and everywhere.
    before: (u64, u64),
}

/// How often an interrupt was raised, and how often it came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) raised: u64,
    pub(crate) handled: u64,
    pub(crate) elsewhere: u64,
}

impl CountedInterrupt {
    /// Nothing raised yet.
    pub(crate) fn new(origin: Origin, place: Destination) -> Self {
        let before = (interrupts::count(place.cpu, place.vector), interrupts::total(place.vector));
        Self { origin, place, raised: 0, lost: 0, before }
    }

    /// The store entry that sends it.
    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    /// The MAP request for it.
    pub(crate) const fn request(&self) -> MapRequest {
        MapRequest::new(self.origin, self.place.target())
    }

    /// The processor and the vector where it must arrive.
    pub(crate) const fn place(&self) -> Destination {
        self.place
    }

    /// How often it came since the start.
    pub(crate) fn handled(&self) -> u64 {
        interrupts::count(self.place.cpu, self.place.vector) - self.before.0
    }

    /// Does what raises it, and waits until it was handled; whether it was.
    pub(crate) fn raise(&mut self, raise: impl FnOnce()) -> bool {
        let before = self.handled();
        self.note_raised();
        raise();
        self.comes_after(before)
    }

    /// Notes that it was raised, to be handled at some time.
    pub(crate) fn note_raised(&mut self) {
        self.raised += 1;
    }

    /// Waits until it came more often than that; whether it did.
    pub(crate) fn comes_after(&mut self, before: u64) -> bool {
        // What has lost several will lose more: then waiting long proves nothing.
        let patience = if self.lost > 2 { 50 } else { PATIENCE_MS };
        let came = wait_until(patience, || self.handled() > before);
        self.lost += u64::from(!came);
        came
    }

    /// What it came to until now.
    pub(crate) fn sum(&self) -> Sum {
        let handled = self.handled();
        let everywhere = interrupts::total(self.place.vector) - self.before.1;
        Sum { raised: self.raised, handled, elsewhere: everywhere - handled }
    }

    /// What it came to, reported as an event.
    pub(crate) fn report(&self, stage: &str, message: u32) -> Sum {
        let sum = self.sum();
        report::event("vector", |event| {
            event
                .display("device", self.origin.device)
                .display("store", format_args!("{:?}", self.origin.store))
                .str("stage", stage)
                .num("index", self.origin.index)
                .num("message", message)
                .num("apic_id", self.place.apic_id)
                .num("vector", self.place.vector)
                .num("raised", sum.raised)
                .num("handled", sum.handled)
                .num("elsewhere", sum.elsewhere);
        });
        sum
    }
}

impl Sum {
    /// Every one came once, and nowhere else.
    pub(crate) const fn is_exact(self) -> bool {
        self.raised > 0 && self.handled == self.raised && self.elsewhere == 0
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { raised, handled, elsewhere } = self;
        write!(f, "{raised} raised, {handled} handled, {elsewhere} elsewhere")
    }
}

impl core::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.raised += other.raised;
        self.handled += other.handled;
        self.elsewhere += other.elsewhere;
    }
}

/// Reports what the host gave for an entry.
pub(crate) fn report_entry(irte: &Irte, place: Destination) {
    let (origin, pair) = (irte.origin(), irte.pair());
    report::event("entry", |event| {
        event
            .display("device", origin.device)
            .display("store", format_args!("{:?}", origin.store))
            .num("index", origin.index)
            .num("count", origin.count)
            .hex("address", pair.address)
            .num("data", pair.data)
            .display("handle", irte.handle())
            .num("apic_id", place.apic_id)
            .num("vector", place.vector);
    });
}

/// With which status the host refused the one entry of a call; `None` if it did not.
pub(crate) fn refusal<T>(answer: &Result<T, Error>) -> Option<Status> {
    match answer {
        Err(Error::Entry { status, .. }) => Some(status.status()),
        _ => None,
    }
}
