//! What ends a run, and whom it tells meanwhile: watched by the main thread alone.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pvir_host::service::Service;
use pvir_host::vfio::DeviceNotice;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::devices::notices::HostNotices;
use crate::foreground::Foreground;
use crate::observation::report::live::{LiveReport, Ticker};
use crate::plugging::Plugger;
use crate::results::Results;
use crate::signals::{SignalRequest, Signals};
use crate::vcpu::ending::Ending;
use crate::vcpu::outcome::Outcome;

/// The sources that are watched, and who is told.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'a> {
    pub(crate) ending: &'a Ending,
    pub(crate) signals: &'a Signals,
    pub(crate) service: &'a Service,
    pub(crate) live: &'a LiveReport,
    pub(crate) results: &'a Results,
    pub(crate) user: &'a Foreground,
}

/// The watch of one run, over all boots of its guest.
pub(crate) struct Watch<'a> {
    watched: Watched<'a>,
    epoll: Epoll,
    /// `--timeout`, and when it has passed.
    limit: Option<(f64, Instant)>,
    ticker: Option<Ticker>,
    plugger: Plugger<'a>,
}

impl<'a> Watch<'a> {
    /// Begins the watch: from now on signals act. `timeout` is in seconds.
    ///
    /// # Errors
    /// The system call that failed.
    pub(crate) fn new(
        watched: Watched<'a>,
        timeout: Option<f64>,
        ticker: Option<Ticker>,
        plugger: Plugger<'a>,
    ) -> Result<Self> {
        let Watched { ending, signals, .. } = watched;
        let epoll = Epoll::new().context("epoll_create1 failed")?;
        let of_devices = plugger.notices().flat_map(HostNotices::descriptors).chain(plugger.descriptors());
        for fd in [ending.as_raw_fd()].into_iter().chain(signals.descriptors()).chain(of_devices) {
            epoll
                .ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, 0))
                .context("epoll_ctl failed")?;
        }
        signals.listen().context("cannot take over Ctrl-C")?;
        let limit = timeout.map(|seconds| (seconds, Instant::now() + Duration::from_secs_f64(seconds)));
        Ok(Self { watched, epoll, limit, ticker, plugger })
    }

    /// Blocks until the guest has ended, a signal or the host has ended it, or time is up. Tells the counts to who asks
    /// meanwhile.
    pub(crate) fn until_the_end(&mut self) -> Result<()> {
        while !self.watched.ending.has_ended() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Blocks until `moment`, or until the run has ended for good. Answers whether it goes on.
    pub(crate) fn until(&mut self, moment: Instant) -> Result<bool> {
        while Instant::now() < moment {
            self.turn(Some(moment))?;
            if !self.goes_on() {
                return Ok(false);
            }
        }
        self.is_restarting()
    }

    /// Sees what has come meanwhile. Answers whether the guest, which has ended, is still to be started again.
    pub(crate) fn is_restarting(&mut self) -> Result<bool> {
        self.turn(Some(Instant::now()))?;
        Ok(self.goes_on())
    }

    fn goes_on(&self) -> bool {
        self.watched.ending.outcome().is_none_or(|outcome| outcome.is_restartable())
    }

    /// The guest is started again.
    pub(crate) fn count_restart(&self) {
        self.watched.live.count_restart();
    }

    /// A line for a person.
    pub(crate) fn tell(&self, line: &str) {
        self.watched.results.tell(line);
    }

    /// Blocks until something has come, or until `moment`, and deals with it.
    fn turn(&mut self, moment: Option<Instant>) -> Result<()> {
        let Watched { ending, signals, service, live, results, user } = self.watched;
        let left_to = |moment: Instant| moment.saturating_duration_since(Instant::now());
        self.plugger.notices().for_each(|notices| notices.tell_resets(service));
        let said = |notices: &HostNotices| notices.next().map(|said| (notices.guest(), said));
        let said = self.plugger.notices().find_map(said);
        match said {
            Some((guest, (device, DeviceNotice::Wanted))) => self.plugger.give_up(guest, device),
            Some((_, (device, _))) => {
                let outcome = Outcome::DeviceFailed { device: device.to_string() };
                tracing::warn!("{}", outcome.describe());
                ending.finish_for_good(outcome);
                return Ok(());
            }
            None => {}
        }
        let deadline = self.limit.map(|(_, deadline)| deadline);
        if let Some((seconds, _)) = self.limit.filter(|(_, deadline)| left_to(*deadline).is_zero()) {
            ending.finish_for_good(Outcome::TimedOut { seconds });
            return Ok(());
        }
        let plugging = self.plugger.serve();
        for fd in self.plugger.take_new_descriptors() {
            if let Err(error) = self.epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, 0)) {
                tracing::warn!(
                    "what the host says of a device that was plugged is seen late: epoll_ctl: {error}"
                );
            }
        }
        let next = self.ticker.as_mut().map(|ticker| ticker.tick(live, |line| results.tell(line)));
        let left = deadline.into_iter().chain(next).chain(moment).chain(plugging).map(left_to).min();
        // Rounded up, so as not to spin through the last millisecond.
        let milliseconds = left.map_or(-1, |left| match left.as_millis() {
            0 if left.is_zero() => 0,
            whole => i32::try_from(whole + 1).unwrap_or(i32::MAX),
        });
        let mut events = [EpollEvent::default(); 5];
        match self.epoll.wait(milliseconds, &mut events) {
            Ok(_) => {
                ending.acknowledge();
                match signals.next().context("cannot read signals")? {
                    Some(SignalRequest::EndRun) => ending.finish_for_good(Outcome::Interrupted),
                    Some(SignalRequest::PrintCounts) => results.so_far(&live.summary(&Outcome::Running))?,
                    Some(SignalRequest::Suspend) => user.suspend(),
                    Some(SignalRequest::Resume) => user.resume(),
                    None => {}
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error).context("epoll_wait failed"),
        }
    }
}
