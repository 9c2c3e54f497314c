//! One boot after the other, until the run ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::pace::Pace;
use super::{Machine, OnReboot};
use crate::leaving::VcpuThreads;
use crate::sandbox::{Sandbox, kinds};
use crate::vcpu::Vcpu;
use crate::vcpu::outcome::Outcome;
use crate::watch::Watch;

/// Runs the guest until the run ends, with `vcpus` as at power-on. Answers with the threads that are still to be stopped;
/// `None` if the run has ended between two boots.
///
/// # Errors
/// A thread could not be started, or the process's own descriptors fail.
pub(crate) fn run_boots(
    machine: &Machine,
    on_reboot: OnReboot,
    watch: &mut Watch<'_>,
    vcpus: Vec<Vcpu>,
    sandbox: &Sandbox,
) -> Result<Option<VcpuThreads>> {
    let ending = &machine.platform.ending;
    let mut pace = Pace::new(Instant::now());
    let main = if on_reboot == OnReboot::Exit { &kinds::MAIN } else { &kinds::MAIN_RESTARTING };
    let mut threads = VcpuThreads::start(vcpus, sandbox, &kinds::VCPU, || sandbox.enter(main))?;
    loop {
        machine.desk.remind();
        watch.until_the_end()?;
        let outcome = ending.outcome().context("the guest ended without an outcome")?;
        if matches!(outcome, Outcome::SaveWanted) {
            match save(machine, watch, threads)? {
                Saving::GoesOn(vcpus) => {
                    threads = VcpuThreads::start(vcpus, sandbox, &kinds::VCPU_AGAIN, || ())?;
                    continue;
                }
                Saving::Ended(threads) => return Ok(threads),
            }
        }
        if on_reboot == OnReboot::Exit || !outcome.is_restartable() {
            return Ok(Some(threads));
        }
        let ended = Instant::now();
        let next_start = pace.next_start(&outcome, ended);
        // A thread may wait for the reader of stdout, without end.
        while !threads.end() {
            if !watch.is_restarting()? {
                return Ok(Some(threads));
            }
        }
        tell(watch, &outcome, next_start - ended);
        let mut vcpus = threads.into_vcpus();
        if let Err(error) = machine.reset(&mut vcpus) {
            let error = format!("the guest cannot be started again: {error:#}");
            ending.finish_for_good(Outcome::HostFailure { error });
            return Ok(None);
        }
        if !watch.until(next_start)? || !ending.start_over() {
            return Ok(None);
        }
        watch.count_restart();
        threads = VcpuThreads::start(vcpus, sandbox, &kinds::VCPU_AGAIN, || ())?;
    }
}

/// What came of a wish to be saved.
enum Saving {
    /// The run has ended; these threads are still to be stopped.
    Ended(Option<VcpuThreads>),
    /// It goes on with these vCPUs.
    GoesOn(Vec<Vcpu>),
}

/// Stops the vCPUs and has the machine saved.
fn save(machine: &Machine, watch: &mut Watch<'_>, threads: VcpuThreads) -> Result<Saving> {
    let ending = &machine.platform.ending;
    while !threads.end() {
        // A thread may wait for the reader of stdout, without end.
        if !watch.is_restarting()? {
            return Ok(Saving::Ended(Some(threads)));
        }
    }
    let mut vcpus = threads.into_vcpus();
    if let Some(saved) = machine.save(&mut vcpus) {
        ending.finish_for_good(saved);
        return Ok(Saving::Ended(None));
    }
    if matches!(ending.outcome(), Some(Outcome::SaveWanted)) {
        ending.start_over();
    }
    // Otherwise it has ended meanwhile, by itself or by a signal: its threads see that at once.
    Ok(Saving::GoesOn(vcpus))
}

/// Says why the guest is started again, and how long after its end. The pace bounds how often.
fn tell(watch: &Watch<'_>, outcome: &Outcome, wait: Duration) {
    match outcome {
        Outcome::GuestCrash(report) => {
            let wait = wait.as_secs_f64();
            watch.tell(&format!("pvir: guest crashed, and is started again in {wait:.1} s\n{report}"));
        }
        outcome => tracing::info!("{}, and is started again", outcome.describe()),
    }
}
