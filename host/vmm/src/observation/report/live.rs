//! The counts of a VM that runs. Whoever looks takes what is counted anyway: the guest does not exit for it, and KVM and
//! VFIO are not asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pvir_abi::Conduits;
use pvir_host::counters::Counters;
use pvir_host::isolation::{Host, Posting, ShownIrtes};
use pvir_host::service::{self, Service};

use super::devices::{DeviceList, DeviceName};
use super::interrupts;
use super::routes::{CutOffRow, Routes, RowContext, per_second};
use super::summary::{Sources, Summary};
use crate::observation::control::REQUESTS;
use crate::observation::event;
use crate::vcpu::exit_counters::ExitCounters;
use crate::vcpu::outcome::Outcome;

/// Where all counts of a VM are.
pub(crate) struct LiveReport {
    pub(crate) service: Arc<Service>,
    pub(crate) exits: Arc<ExitCounters>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) devices: Arc<DeviceList>,
    pub(crate) apic_ids: Vec<u32>,
    pub(crate) conduits: Conduits,
    pub(crate) started: Instant,
    /// Read when it is first asked for: it does not change as long as KVM's module is in use.
    pub(crate) posting: OnceLock<Posting>,
    /// How often the guest was started again.
    pub(crate) restarts: AtomicU64,
}

impl LiveReport {
    /// The guest is started again.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The report as it would be now.
    pub(crate) fn summary(&self, outcome: &Outcome) -> Summary {
        let devices = self.devices.names();
        Summary::new(Sources {
            outcome,
            elapsed: self.started.elapsed(),
            restarts: self.restarts.load(Ordering::Relaxed),
            conduits: self.conduits,
            apic_ids: &self.apic_ids,
            exits: &self.exits,
            devices: self.devices.summaries(&self.exits),
            unplugged: self.devices.unplugged(),
            ioctls: self.counters.ioctls(),
            service: self.service.statistics(),
            interrupts: interrupts::summarize(&self.service.history(), &devices),
            interrupts_forgotten: self.service.forgotten(),
            cut_off: self.cut_off(&devices),
        })
    }

    fn cut_off(&self, devices: &[DeviceName]) -> Vec<CutOffRow> {
        CutOffRow::of(&self.service.cut_off_devices(), devices)
    }

    /// The way of each interrupt now.
    pub(crate) fn routes(&self) -> Routes {
        let live = self.service.live();
        let elapsed_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let posting = *self.posting.get_or_init(|| Host::default().posting());
        let devices = self.devices.names();
        // Once for all, and without the VM's lock.
        let irtes = shown_irtes(posting, &live, &devices);
        let known = RowContext { devices: &devices, apic_ids: &self.apic_ids, posting, irtes: &irtes };
        let cut_off = self.cut_off(&devices);
        Routes { pid: std::process::id(), elapsed_us, routes: known.rows(&live), cut_off }
    }

    /// What the control socket answers.
    ///
    /// # Errors
    /// If it is none of [`REQUESTS`], or an event that cannot be.
    pub(crate) fn answer(&self, request: &str) -> Result<String> {
        if let Some(event) = request.strip_prefix("event ") {
            return Ok(serde_json::to_string(&event::answer(&self.service, event)?)?);
        }
        match request {
            "routes" => Ok(serde_json::to_string(&self.routes())?),
            "summary" => Ok(serde_json::to_string(&self.summary(&Outcome::Running))?),
            _ => bail!("no such request: {request:?}; there are {}", REQUESTS.join(", ")),
        }
    }

    fn sums(&self) -> TickCounts {
        let summary = self.summary(&Outcome::Running);
        let trapped = self.service.live().trapped;
        let direct = summary.interrupts.iter().map(|row| row.count);
        let trapped = trapped.iter().map(|line| line.host.and_then(|host| host.count));
        let interrupts = direct.chain(trapped).sum();
        let calls = summary.service.ok + summary.service.partial + summary.service.refused;
        // The entry into the guest is no work for it.
        let ioctls =
            summary.ioctls.iter().filter(|(name, _)| **name != "KVM_RUN").map(|(_, count)| count).sum();
        TickCounts { at: self.started.elapsed(), exits: summary.exits_total, calls, ioctls, interrupts }
    }
}

/// What the kernel shows of the entries of host devices, where it can matter.
fn shown_irtes(posting: Posting, live: &service::Live, devices: &[DeviceName]) -> ShownIrtes {
    if posting == Posting::Off || live.irtes.is_empty() {
        return ShownIrtes::default();
    }
    let devices: Vec<_> = devices.iter().filter_map(|device| device.host).collect();
    Host::default().shown_irtes(&devices)
}

/// The line that `--stats-interval` prints.
#[derive(Debug, Clone, Copy)]
struct TickCounts {
    at: Duration,
    exits: u64,
    calls: u64,
    ioctls: u64,
    /// Nothing if not all were counted.
    interrupts: Option<u64>,
}

impl TickCounts {
    fn line_since(&self, before: &Self) -> String {
        let micros = u64::try_from((self.at - before.at).as_micros()).unwrap_or(u64::MAX);
        let part = |name: &str, now: u64, before: u64| {
            let rate = per_second(now.saturating_sub(before), micros);
            format!("{name} {now} ({rate:.0}/s)")
        };
        let interrupts = self.interrupts.map(|now| part("interrupts", now, before.interrupts.unwrap_or(now)));
        let parts = [
            part("exits", self.exits, before.exits),
            part("calls", self.calls, before.calls),
            part("ioctls", self.ioctls, before.ioctls),
            interrupts.unwrap_or_else(|| "interrupts not counted".to_owned()),
        ];
        format!("pvir: {:.1} s: {}", self.at.as_secs_f64(), parts.join(", "))
    }
}

/// Tells the counts every so often.
pub(crate) struct Ticker {
    period: Duration,
    next: Instant,
    before: TickCounts,
}

impl Ticker {
    pub(crate) fn new(live: &LiveReport, seconds: f64) -> Self {
        let period = Duration::from_secs_f64(seconds);
        Self { period, next: Instant::now() + period, before: live.sums() }
    }

    /// Has `tell` tell them if it is time; answers when it will be. What was missed is not made up for.
    pub(crate) fn tick(&mut self, live: &LiveReport, tell: impl FnOnce(&str)) -> Instant {
        let now = Instant::now();
        if now >= self.next {
            let sums = live.sums();
            tell(&sums.line_since(&self.before));
            self.before = sums;
            self.next = now + self.period;
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_sums_and_what_they_grew_by_in_a_second() {
        let sums = |at, exits, interrupts| TickCounts {
            at: Duration::from_secs(at),
            exits,
            calls: 4,
            ioctls: 9,
            interrupts: Some(interrupts),
        };
        let line = sums(12, 30, 5000).line_since(&sums(10, 10, 1000));
        assert_eq!(
            line,
            "pvir: 12.0 s: exits 30 (10/s), calls 4 (0/s), ioctls 9 (0/s), interrupts 5000 (2000/s)"
        );
        let uncounted = TickCounts { interrupts: None, ..sums(12, 30, 0) }.line_since(&sums(10, 10, 1000));
        assert!(uncounted.ends_with(", ioctls 9 (0/s), interrupts not counted"), "{uncounted}");
    }
}
