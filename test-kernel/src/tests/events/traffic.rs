//! Interrupts with numbers: raised by the device at a rate of its own, or by this kernel.

use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::emulated::Emulated;
use crate::machine::devices::{Device, Trigger};
use crate::machine::memory::dma::Dma;
use crate::machine::pci::Function;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Once;

/// Most entries that take part.
pub(in crate::tests) const ENTRIES: usize = 4;
/// Rounds of the rate generator while one event comes and goes, and microseconds from one to the next.
const BURST: u32 = 40;
const INTERVAL: u32 = 100;
/// Microseconds between two rounds of a generator that runs beside everything else.
const ON_AND_ON: u32 = 1000;
/// Milliseconds that the kernel waits for an interrupt of its own before it raises the next: it may be lost.
const A_MOMENT: u64 = 1;

/// How fast the device raises, and how often.
#[derive(Clone, Copy)]
pub(in crate::tests) struct Pace {
    /// Microseconds from one round to the next.
    interval: u32,
    rounds: u32,
}

impl Pace {
    pub(in crate::tests) const fn new(interval: u32, rounds: u32) -> Self {
        Self { interval, rounds }
    }

    /// Whether it goes on until it is stopped.
    pub(in crate::tests) const fn is_endless(self) -> bool {
        self.rounds == u32::MAX
    }
}

/// Where the device writes its numbers, if it does.
static AREA: Once<Dma> = Once::new();
/// The kernel's own numbers.
static RAISED: [AtomicU32; ENTRIES] = [const { AtomicU32::new(0) }; ENTRIES];
/// The number that each handler saw last.
static SEEN: [AtomicU32; ENTRIES] = [const { AtomicU32::new(0) }; ENTRIES];

/// The number of an entry's latest interrupt.
pub(in crate::tests) fn raised(number: usize) -> u32 {
    match AREA.get() {
        Some(area) => area.read(number as u64 * 8),
        None => RAISED.get(number).map_or(0, |raised| raised.load(Ordering::Acquire)),
    }
}

/// Notes what an entry's handler finds.
pub(in crate::tests) fn see(number: usize) {
    if let Some(seen) = SEEN.get(number) {
        seen.fetch_max(raised(number), Ordering::AcqRel);
    }
}

/// The latest number that was seen.
pub(in crate::tests) fn seen(number: usize) -> u32 {
    SEEN.get(number).map_or(0, |seen| seen.load(Ordering::Acquire))
}

/// What raises the interrupts of a device.
pub(in crate::tests) struct Traffic {
    driver: Device,
    generator: Option<Emulated>,
    entries: usize,
    /// Rounds that this kernel has raised, where the device does not.
    rounds: u32,
}

impl Traffic {
    pub(in crate::tests) fn new(function: &Function, driver: Device, entries: usize) -> Option<Self> {
        let generator = Emulated::open(function).map(|(_, generator)| generator);
        if let Some(generator) = &generator {
            let area = Dma::allocate(ENTRIES as u64 * 8)?;
            generator.write_sequences(AREA.call_once(|| area).address());
        }
        Some(Self { driver, generator, entries, rounds: 0 })
    }

    pub(in crate::tests) fn describe(&self) -> &'static str {
        if self.generator.is_some() { "raised by the device itself" } else { "raised by this kernel" }
    }

    pub(in crate::tests) fn driver(&mut self) -> &mut Device {
        &mut self.driver
    }

    /// Whether the device raises by itself.
    pub(in crate::tests) fn is_of_device(&self) -> bool {
        self.generator.is_some()
    }

    /// Begins a burst.
    pub(in crate::tests) fn start(&mut self) {
        self.start_at(Pace::new(INTERVAL, BURST));
    }

    /// Begins to raise at this pace.
    pub(in crate::tests) fn start_at(&mut self, Pace { interval, rounds }: Pace) {
        self.rounds = 0;
        if let Some(generator) = &self.generator {
            generator.run(0, u32::try_from(self.entries).unwrap_or(1), interval, rounds);
        }
    }

    /// Has the device raise without end, until [`stop`](Self::stop).
    pub(in crate::tests) fn run_on(&self) {
        if let Some(generator) = &self.generator {
            generator.run(0, u32::try_from(self.entries).unwrap_or(1), ON_AND_ON, u32::MAX);
        }
    }

    /// Raises each once more, if the device does not by itself, and the pace has more of them.
    pub(in crate::tests) fn go_on_at(&mut self, pace: Pace) {
        if self.rounds < pace.rounds {
            self.rounds += 1;
            self.go_on();
        }
    }

    /// Ends what [`start_at`](Self::start_at) or [`run_on`](Self::run_on) began.
    pub(in crate::tests) fn stop(&self) {
        if let Some(generator) = &self.generator {
            generator.stop();
            wait_until(PATIENCE_MS, || generator.rounds_left() == 0);
        }
    }

    /// Sets a device up again that has been reset, if it is one that a save does not keep; whether it is.
    pub(in crate::tests) fn set_up_again(&mut self) -> bool {
        if self.generator.is_none() {
            self.driver.init();
        }
        self.generator.is_none()
    }

    /// Raises each once more, if the device does not by itself.
    pub(in crate::tests) fn go_on(&mut self) {
        if self.generator.is_some() {
            return;
        }
        for number in 0..self.entries {
            if let Some(raised) = RAISED.get(number) {
                raised.fetch_add(1, Ordering::AcqRel);
            }
            let vector = u16::try_from(number).unwrap_or(0);
            self.driver.raise(vector);
            wait_until(A_MOMENT, || seen(number) == raised(number));
            self.driver.acknowledge(vector);
        }
    }

    /// Lets a burst come to its end.
    pub(in crate::tests) fn finish(&mut self) {
        if let Some(generator) = &self.generator {
            wait_until(PATIENCE_MS, || generator.rounds_left() == 0);
        }
    }
}
