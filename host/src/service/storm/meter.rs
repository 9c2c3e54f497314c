//! Which devices raise too many interrupts, by how their counts grow.

use super::StormLimit;
use pvir_abi::DeviceId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The time over which a rate is judged, at least.
const WINDOW: Duration = Duration::from_millis(50);

/// Why a device is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Storm {
    /// The device.
    pub device: DeviceId,
    /// Interrupts that it has raised within [`window`](Self::window).
    pub interrupts: u64,
    /// The time over which they were counted.
    pub window: Duration,
    /// The limit that was passed, in interrupts a second.
    pub limit: u32,
    /// Whether it is the limit of all devices together, of which this one raised the most.
    pub of_vm: bool,
}

impl Storm {
    /// Interrupts a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let nanoseconds = self.window.as_nanos().max(1);
        u64::try_from(u128::from(self.interrupts) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
    }
}

/// The latest readings of a device's count, with their times: one that is [`WINDOW`] old or older, where there is one,
/// and all since.
#[derive(Debug, Default)]
struct Readings(VecDeque<(Duration, u64)>);

/// How a count has grown, and in which time.
#[derive(Clone, Copy, Debug)]
struct Growth {
    interrupts: u64,
    /// [`WINDOW`], or longer if no look was at its beginning.
    window: Duration,
}

impl Growth {
    fn exceeds(self, limit: u32) -> bool {
        u128::from(self.interrupts) * 1_000_000_000 > self.window.as_nanos() * u128::from(limit)
    }
}

impl Readings {
    fn take(&mut self, now: Duration, count: u64) -> Growth {
        // A count that goes back is that of another device in its place.
        if self.0.back().is_some_and(|(_, before)| count < *before) {
            self.0.clear();
        }
        self.0.push_back((now, count));
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let (begun, before) = self.0.front().copied().unwrap_or((now, count));
        // What came in less than the window has come in the window.
        Growth { interrupts: count - before, window: now.saturating_sub(begun).max(WINDOW) }
    }

    /// Begins anew with the last reading.
    fn restart(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(1));
    }
}

/// The counts of a VM's devices over the latest time.
#[derive(Debug)]
pub(super) struct StormMeter {
    limit: StormLimit,
    devices: BTreeMap<DeviceId, Readings>,
}

impl StormMeter {
    pub(super) fn new(limit: StormLimit) -> Self {
        Self { limit, devices: BTreeMap::new() }
    }

    /// Takes the counts of all devices at `now`. Answers with the devices that are to be cut off. A device whose count is
    /// not there is forgotten.
    pub(super) fn look(&mut self, now: Duration, counts: &[(DeviceId, u64)]) -> Vec<Storm> {
        self.devices.retain(|id, _| counts.iter().any(|(other, _)| other == id));
        let grown =
            counts.iter().map(|&(id, count)| (id, self.devices.entry(id).or_default().take(now, count)));
        let mut grown: Vec<(DeviceId, Growth)> = grown.collect();
        // The worst first.
        grown.sort_by_key(|(_, growth)| std::cmp::Reverse(growth.interrupts));
        let mut all = Growth { interrupts: 0, window: WINDOW };
        for (_, growth) in &grown {
            all.interrupts = all.interrupts.saturating_add(growth.interrupts);
            all.window = all.window.max(growth.window);
        }
        let mut storms = Vec::new();
        for (device, growth) in grown {
            let of_device = self.limit.device().filter(|limit| growth.exceeds(*limit));
            let of_vm = self.limit.vm().filter(|limit| all.exceeds(*limit));
            let Some(limit) = of_device.or(of_vm) else { continue };
            let Growth { interrupts, window } = growth;
            storms.push(Storm { device, interrupts, window, limit, of_vm: of_device.is_none() });
            all.interrupts = all.interrupts.saturating_sub(interrupts);
            self.devices.entry(device).or_default().restart();
        }
        storms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::new(0, Bdf::new(0, number, 0).unwrap())
    }

    /// 10,000 a second of a device: 500 in a window. 20,000 of a VM.
    fn meter() -> StormMeter {
        StormMeter::new(StormLimit::per_second(10_000).with_vm(20_000))
    }

    fn cut(meter: &mut StormMeter, at: u64, counts: &[u64]) -> Vec<(DeviceId, u64)> {
        let counts: Vec<_> = (1..).map(device).zip(counts.iter().copied()).collect();
        let storms = meter.look(ms(at), &counts);
        storms.iter().map(|storm| (storm.device, storm.interrupts)).collect()
    }

    #[test]
    fn the_limit_is_exact() {
        for (all, expected) in [(500, vec![]), (501, vec![(device(1), 501)])] {
            let mut meter = meter();
            assert_eq!(cut(&mut meter, 0, &[7_000_000]), [], "what it had before is nothing");
            assert_eq!(cut(&mut meter, 25, &[7_000_000 + 250]), []);
            assert_eq!(cut(&mut meter, 50, &[7_000_000 + all]), expected);
        }
    }

    #[test]
    fn a_rate_at_the_limit_is_allowed_for_ever_and_one_above_it_ends_within_the_window() {
        let mut meter = meter();
        let (mut now, mut count) = (0, 0);
        for _ in 0..10_000 {
            (now, count) = (now + 25, count + 250);
            assert_eq!(cut(&mut meter, now, &[count]), []);
        }
        // A hundredth more.
        assert_eq!(cut(&mut meter, now + 25, &[count + 252]), [(device(1), 502)]);
    }

    #[test]
    fn a_burst_may_fill_the_window_and_is_over_with_it() {
        let mut meter = meter();
        assert_eq!(cut(&mut meter, 0, &[0]), []);
        assert_eq!(cut(&mut meter, 10, &[500]), [], "all at once");
        assert_eq!(cut(&mut meter, 59, &[500]), []);
        assert_eq!(cut(&mut meter, 60, &[1000]), [], "the first one is no more in the window");
        assert_eq!(cut(&mut meter, 61, &[1010]), [], "51 ms since that");
        assert_eq!(cut(&mut meter, 61, &[1011]), [(device(1), 511)]);
    }

    #[test]
    fn a_strong_storm_does_not_have_the_whole_window() {
        let mut meter = meter();
        assert_eq!(cut(&mut meter, 0, &[0]), []);
        assert_eq!(cut(&mut meter, 1, &[501]), [(device(1), 501)]);
    }

    #[test]
    fn a_look_that_comes_late_judges_by_the_longer_time() {
        let mut meter = meter();
        assert_eq!(cut(&mut meter, 0, &[0]), []);
        assert_eq!(cut(&mut meter, 1_000, &[10_000]), []);
        assert_eq!(cut(&mut meter, 3_000, &[30_001]), [(device(1), 20_001)]);
    }

    #[test]
    fn every_rate_above_the_limit_is_found_within_three_looks() {
        for rate in [10_100, 11_000, 15_000, 40_000, 10_000_000] {
            for begun in 0..25 {
                let count = |now: u64| rate * now.saturating_sub(begun) / 1000;
                let mut meter = meter();
                let found = (0..20)
                    .map(|look| look * 25)
                    .find(|now| !cut(&mut meter, *now, &[count(*now)]).is_empty());
                let took = found.unwrap() - begun;
                assert!(took <= 75, "{rate} from {begun} ms on: {took} ms");
            }
        }
    }

    #[test]
    fn a_count_that_goes_back_begins_anew() {
        let mut meter = meter();
        assert_eq!(cut(&mut meter, 0, &[1_000_000]), []);
        assert_eq!(cut(&mut meter, 25, &[3]), []);
        assert_eq!(cut(&mut meter, 50, &[503]), []);
        assert_eq!(cut(&mut meter, 74, &[504]), [(device(1), 501)]);
    }

    #[test]
    fn a_device_that_went_meanwhile_is_forgotten() {
        let mut meter = meter();
        cut(&mut meter, 0, &[0, 0]);
        cut(&mut meter, 25, &[400]);
        assert_eq!(meter.devices.len(), 1);
        assert_eq!(cut(&mut meter, 50, &[400, 7_000]), [], "another one in its place");
    }

    #[test]
    fn who_was_cut_off_begins_anew_and_is_found_again() {
        let mut meter = meter();
        cut(&mut meter, 0, &[0]);
        assert_eq!(cut(&mut meter, 25, &[600]), [(device(1), 600)]);
        assert_eq!(cut(&mut meter, 26, &[1_100]), [], "the rest of a burst");
        assert_eq!(cut(&mut meter, 50, &[1_101]), [(device(1), 501)], "it was not stopped");
    }

    #[test]
    fn of_a_vm_the_worst_are_cut_off_until_the_rest_is_within_its_limit() {
        let mut meter = StormMeter::new(StormLimit::per_second(10_000).with_vm(12_000));
        cut(&mut meter, 0, &[0; 4]);
        // 600 in a window are the VM's.
        assert_eq!(cut(&mut meter, 50, &[200, 100, 300, 0]), []);
        let storms =
            meter.look(ms(100), &[(device(1), 400), (device(2), 500), (device(3), 600), (device(4), 0)]);
        let told: Vec<_> = storms.iter().map(|storm| (storm.device, storm.limit, storm.of_vm)).collect();
        assert_eq!(told, [(device(2), 12_000, true)], "the rest is 500");
        let both =
            meter.look(ms(150), &[(device(1), 1_400), (device(2), 500), (device(3), 1_300), (device(4), 0)]);
        let told: Vec<_> = both.iter().map(|storm| (storm.device, storm.of_vm)).collect();
        assert_eq!(told, [(device(1), false), (device(3), false)]);
    }

    #[test]
    fn without_a_limit_nothing_is_cut_off() {
        let mut meter = StormMeter::new(StormLimit::OFF);
        assert_eq!(cut(&mut meter, 0, &[0]), []);
        assert_eq!(cut(&mut meter, 1, &[u64::MAX]), []);
        assert!(StormLimit::OFF.is_off() && !StormLimit::default().is_off());
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut most = StormMeter::new(StormLimit::per_second(u32::MAX));
        assert_eq!(cut(&mut most, 0, &[0, 0]), []);
        assert_eq!(cut(&mut most, 10, &[u64::MAX, u64::MAX]).len(), 2);
        let mut late = meter();
        cut(&mut late, 1_000, &[0]);
        assert_eq!(cut(&mut late, 10, &[1]), [], "a clock that goes back");
        assert_eq!(StormLimit::per_second(0).device(), Some(StormLimit::MIN));
    }
}
