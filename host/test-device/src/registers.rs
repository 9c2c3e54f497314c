//! The device's registers: BAR 0, trapped, 32-bit accesses. `docs/emulated-device.md` says what each does.

use super::events::DeviceEvents;
use super::model::DeviceModel;
use super::rate::{MAX_ROUNDS, RatePlan};
use pvir_abi::EventReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Whether a guest reads or writes a register, as its page in `docs/` says.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RegisterAccess {
    /// Reads; ignores writes.
    Read,
    /// Reads and writes.
    ReadWrite,
    /// Writes; reads as 0.
    Write,
}

macro_rules! registers {
    ($($name:ident $offset:literal $access:ident)*) => {
        $(
            #[doc = concat!("Offset of `", stringify!($name), "`.")]
            pub(crate) const $name: u64 = $offset;
        )*
        /// Every register: name, offset, access. What the page says is compared with it.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, u64, RegisterAccess)] = &[$((stringify!($name), $offset, RegisterAccess::$access)),*];
    };
}

registers! {
    IDENTITY 0x00 Read
    VECTORS 0x04 Read
    TIMES 0x08 ReadWrite
    RAISE 0x0c Write
    SELECT 0x10 ReadWrite
    SENT 0x14 Read
    BLOCKED 0x18 Read
    HELD 0x1c Read
    RAISED 0x20 Read
    IMS_ENTRIES 0x24 Read
    IMS_BASE_LOW 0x28 ReadWrite
    IMS_BASE_HIGH 0x2c ReadWrite
    IMS_DOORBELL 0x30 Write
    DMA_FAULTS 0x34 Read
    SEQUENCES_LOW 0x38 ReadWrite
    SEQUENCES_HIGH 0x3c ReadWrite
    RATE_FIRST 0x40 ReadWrite
    RATE_COUNT 0x44 ReadWrite
    RATE_INTERVAL 0x48 ReadWrite
    RATE_ROUNDS 0x4c ReadWrite
    RATE_RUN 0x50 ReadWrite
    EVENT 0x54 ReadWrite
}

/// Value of [`IDENTITY`].
pub(crate) const IDENTITY_VALUE: u32 = u32::from_le_bytes(*b"PVED");
/// The number of interrupts that one write to [`RAISE`] raises at most: a bound on the time that a guest can keep the device busy.
pub(crate) const MAX_TIMES: u32 = 1 << 16;
/// Shortest interval of the rate generator, in microseconds.
pub(crate) const MIN_INTERVAL: u32 = 1;

/// Registers that are not zero at the start.
const START_TIMES: u32 = 1;
const START_RATE_COUNT: u32 = 1;
const START_RATE_INTERVAL: u32 = 1000;

/// Registers that the register file itself keeps.
pub(crate) const KEPT: usize = 8;

/// The register file.
pub(crate) struct Registers {
    model: Arc<DeviceModel>,
    events: Option<DeviceEvents>,
    times: AtomicU32,
    select: AtomicU32,
    ims_base_low: AtomicU32,
    sequences_low: AtomicU32,
    rate_first: AtomicU32,
    rate_count: AtomicU32,
    rate_interval: AtomicU32,
    rate_rounds: AtomicU32,
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

impl Registers {
    /// Of the device `model`, which raises `events` of itself if it can.
    #[must_use]
    pub(crate) fn new(model: Arc<DeviceModel>, events: Option<DeviceEvents>) -> Self {
        let register = AtomicU32::new;
        Self {
            model,
            events,
            times: register(START_TIMES),
            select: register(0),
            ims_base_low: register(0),
            sequences_low: register(0),
            rate_first: register(0),
            rate_count: register(START_RATE_COUNT),
            rate_interval: register(START_RATE_INTERVAL),
            rate_rounds: register(0),
        }
    }

    /// A function level reset: the device is quiet, and the registers are what they were at the start. Counts go on.
    pub(crate) fn reset(&self) {
        self.model.reset();
        self.restore(&[START_TIMES, 0, 0, 0, 0, START_RATE_COUNT, START_RATE_INTERVAL, 0]);
    }

    fn kept(&self) -> [&AtomicU32; KEPT] {
        let Self { times, select, ims_base_low, sequences_low, .. } = self;
        let Self { rate_first, rate_count, rate_interval, rate_rounds, .. } = self;
        [times, select, ims_base_low, sequences_low, rate_first, rate_count, rate_interval, rate_rounds]
    }

    /// The registers that are kept here, for a snapshot.
    pub(crate) fn save(&self) -> [u32; KEPT] {
        self.kept().map(|register| register.load(Relaxed))
    }

    /// Whether a guest can have set the registers to these values.
    pub(crate) fn takes(&self, values: &[u32; KEPT]) -> bool {
        let [times, _, _, _, _, _, interval, rounds] = *values;
        times <= MAX_TIMES && interval >= MIN_INTERVAL && rounds <= MAX_ROUNDS
    }

    /// Sets them to what [`save`](Self::save) has answered.
    pub(crate) fn restore(&self, values: &[u32; KEPT]) {
        self.kept().iter().zip(values).for_each(|(register, value)| register.store(*value, Relaxed));
    }

    /// A guest's read of 32 bits.
    #[must_use]
    pub(crate) fn read(&self, offset: u64) -> u32 {
        let model = &self.model;
        let counts = || model.counts(self.select.load(Relaxed));
        match offset {
            IDENTITY => IDENTITY_VALUE,
            VECTORS => model.layout().vectors(),
            TIMES => self.times.load(Relaxed),
            SELECT => self.select.load(Relaxed),
            SENT => low(counts().sent),
            BLOCKED => low(counts().blocked),
            HELD => low(counts().held),
            RAISED => low(counts().raised),
            IMS_ENTRIES => model.layout().ims(),
            IMS_BASE_LOW => self.ims_base_low.load(Relaxed),
            IMS_BASE_HIGH => high(model.ims_base()),
            DMA_FAULTS => low(model.dma_faults()),
            SEQUENCES_LOW => self.sequences_low.load(Relaxed),
            SEQUENCES_HIGH => high(model.sequences()),
            RATE_FIRST => self.rate_first.load(Relaxed),
            RATE_COUNT => self.rate_count.load(Relaxed),
            RATE_INTERVAL => self.rate_interval.load(Relaxed),
            RATE_ROUNDS => self.rate_rounds.load(Relaxed),
            RATE_RUN => model.rounds_left(),
            EVENT => self.events.as_ref().map_or(0, |_| DeviceEvents::reasons()),
            _ => 0,
        }
    }

    /// A guest's write of 32 bits.
    pub(crate) fn write(&self, offset: u64, value: u32) {
        let model = &self.model;
        let with_low = |low: &AtomicU32| u64::from(value) << 32 | u64::from(low.load(Relaxed));
        match offset {
            TIMES => self.times.store(value.min(MAX_TIMES), Relaxed),
            SELECT => self.select.store(value, Relaxed),
            RAISE => (0..self.times.load(Relaxed)).for_each(|_| model.raise(value)),
            IMS_BASE_LOW => self.ims_base_low.store(value, Relaxed),
            IMS_BASE_HIGH => model.set_ims_base(with_low(&self.ims_base_low)),
            IMS_DOORBELL => model.ring_doorbell(value),
            SEQUENCES_LOW => self.sequences_low.store(value, Relaxed),
            SEQUENCES_HIGH => model.set_sequences(with_low(&self.sequences_low)),
            RATE_FIRST => self.rate_first.store(value, Relaxed),
            RATE_COUNT => self.rate_count.store(value, Relaxed),
            RATE_INTERVAL => self.rate_interval.store(value.max(MIN_INTERVAL), Relaxed),
            RATE_ROUNDS => self.rate_rounds.store(value.min(MAX_ROUNDS), Relaxed),
            RATE_RUN if value == 0 => model.stop_running(),
            RATE_RUN => model.run(self.plan()),
            EVENT => _ = self.events.as_ref().map(|events| events.request(EventReason(value))),
            _ => {}
        }
    }

    fn plan(&self) -> RatePlan {
        let first = self.rate_first.load(Relaxed);
        RatePlan {
            interrupts: first..first.saturating_add(self.rate_count.load(Relaxed)),
            interval: Duration::from_micros(self.rate_interval.load(Relaxed).into()),
            rounds: self.rate_rounds.load(Relaxed),
        }
    }
}
