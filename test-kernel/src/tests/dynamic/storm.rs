//! One entry that is fired without a pause by a processor of its own.

use crate::harness::counted_interrupt::CountedInterrupt;
use crate::machine::cpu::smp;
use crate::machine::cpu::time::PATIENCE_MS;
use crate::machine::devices::{Device, Trigger};
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// What the processor works on; it takes it out and puts it back.
struct Work {
    line: CountedInterrupt,
    driver: Device,
}

static WORK: Mutex<Option<Work>> = Mutex::new(None);
static STOP: AtomicBool = AtomicBool::new(false);

/// A processor that fires.
pub(super) struct Storm {
    cpu: usize,
}

impl Storm {
    /// Lets the processor that handles `line` raise it too, by entry 0 of the device, each handled before the next. `None`
    /// if that is the one that asks, or it is busy.
    pub(super) fn start(line: CountedInterrupt, driver: Device) -> Option<Self> {
        let cpu = line.place().cpu;
        STOP.store(false, Ordering::Relaxed);
        *WORK.lock() = Some(Work { line, driver });
        smp::start_on(cpu, fire, 0).ok().map(|()| Self { cpu })
    }

    /// Stops it; the line as it is then, `None` if the processor did not stop.
    pub(super) fn stop(self) -> Option<CountedInterrupt> {
        STOP.store(true, Ordering::Relaxed);
        smp::wait_for(self.cpu, 4 * PATIENCE_MS).ok()?;
        WORK.lock().take().map(|work| work.line)
    }
}

fn fire(_: u64) -> u64 {
    let Some(mut work) = WORK.lock().take() else { return 0 };
    while !STOP.load(Ordering::Relaxed) {
        work.line.raise(|| work.driver.raise(0));
        work.driver.acknowledge(0);
    }
    *WORK.lock() = Some(work);
    0
}
