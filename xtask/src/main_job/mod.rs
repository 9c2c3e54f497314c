//! The main job: shows the route of real interrupts, in the best place that there is.

mod crosscheck;
mod environment;
mod launch;
mod render;
mod run_log;

use std::fs;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::build::Programs;
use crate::lab::setup::Cache;
use crate::lab::{Iommu, Outcome};
use crate::progress::step;
use crosscheck::Crosscheck;
use environment::{Choice, Environment, RequestedEnvironment};
use launch::Order;
use render::{Paint, Report};
use run_log::RunLog;

/// Lines of each log that a failure shows.
const LOG_LINES: usize = 12;
const STDOUT: &str = "-";

/// Show real interrupts on their way from a device to a guest's handler.
#[derive(Args)]
pub(crate) struct Options {
    /// A PCI device of this machine that is bound to vfio-pci, may be given several times; without one, the nested
    /// lab supplies it
    #[arg(long, value_name = "BDF")]
    device: Vec<String>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = RequestedEnvironment::Auto)]
    place: RequestedEnvironment,
    /// The IOMMU of the lab
    #[arg(long, value_enum, default_value_t = Iommu::Intel)]
    iommu: Iommu,
    /// vCPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// Interrupts to raise, all devices and vectors together
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    interrupts: u64,
    /// Write what was found as JSON to FILE (`-`: stdout, and the report for people goes to stderr)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show all that guest and host say meanwhile
    #[arg(long)]
    verbose: bool,
}

/// Chooses the place, runs the job there, and reports what came of it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let Choice { place, why } = environment::choose(options.place, &options.device, options.iommu)?;
    eprintln!("place: {}; because {why}", place.describe());
    let programs = Programs::build()?;
    let folder = Cache::open()?.path("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // a run that is well leaves nothing
    let logs =
        tempfile::Builder::new().prefix("main-").tempdir_in(&folder).context("no place for the logs")?;
    let order = Order {
        cpus: options.cpus,
        interrupts: options.interrupts,
        verbose: options.verbose,
        logs: logs.path(),
    };
    let outcome = match launch(&place, &programs, &order) {
        Ok(outcome) => outcome,
        Err(error) => {
            let kept = logs.keep();
            return Err(error.context(format!("the run failed; its logs are in {}", kept.display())));
        }
    };
    let code = match outcome {
        Outcome::Interrupted(signal) => return Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX).into()),
        Outcome::Ended(code) => code,
    };

    let log = fs::read(order.guest_log()).context("cannot read the guest's log")?;
    let run_log = RunLog::parse(&String::from_utf8_lossy(&log));
    let mut crosscheck = Crosscheck::of(&run_log, options.interrupts);
    if run_log.host.is_none() {
        let early = run_log.events.is_empty();
        let when = if early { " before the guest said anything" } else { "" };
        // what is missing then needs no telling
        crosscheck.problems.retain(|_| !early);
        crosscheck.problems.insert(0, format!("pvir ended with exit code {code}{when}"));
    }
    let report = Report {
        run_log: &run_log,
        crosscheck: &crosscheck,
        place: place.name(),
        at: place.describe(),
        why: &why,
        elapsed: started.elapsed(),
    };
    let ends = (!crosscheck.passed()).then(|| ends_of_logs(&order));
    if let Some(file) = &options.json {
        write_json(file, &report)?;
    }
    let passed = crosscheck.passed();
    let kept = (!passed).then(|| logs.keep());
    print(&report, options.json.as_deref() == Some(Path::new(STDOUT)), ends.as_deref(), kept.as_deref())?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn launch(place: &Environment, programs: &Programs, order: &Order<'_>) -> Result<Outcome> {
    let work = || launch::run(place, programs, order);
    if order.verbose {
        return work();
    }
    step(
        format!("{} interrupts {}", order.interrupts, place.describe()),
        "--verbose shows the guest's log",
        work,
    )
}

/// The last lines for people of both logs.
fn ends_of_logs(order: &Order<'_>) -> String {
    let end = |path: PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("@pvir")).collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        last.iter().map(|line| format!("    {}\n", line.trim_end())).collect::<String>()
    };
    let said = [("The guest", end(order.guest_log())), ("pvir", end(order.pvir_log()))];
    let said = said.iter().filter(|(_, lines)| !lines.is_empty());
    said.map(|(who, lines)| format!("{who} said at last:\n{lines}")).collect()
}

fn print(report: &Report<'_>, to_stderr: bool, ends: Option<&str>, logs: Option<&Path>) -> Result<()> {
    let terminal = if to_stderr { stderr().is_terminal() } else { stdout().is_terminal() };
    let paint =
        Paint { colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let mut text = render::body(report, paint);
    text.extend(ends.map(|ends| format!("{ends}\n")));
    text.extend(logs.map(|logs| format!("The whole logs are in {}\n\n", logs.display())));
    text.push_str(&render::verdict(report, paint));
    eprintln!();
    let mut out: Box<dyn Write> = if to_stderr { Box::new(stderr()) } else { Box::new(stdout()) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `| head` wants no more
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot print the report"),
    }
}

fn write_json(file: &Path, report: &Report<'_>) -> Result<()> {
    let Report { run_log, crosscheck, .. } = report;
    let seconds = |elapsed: Duration| (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
    let merged = json!({
        "verdict": if crosscheck.passed() { "pass" } else { "fail" },
        "place": { "kind": report.place, "why": report.why, "facts": run_log.facts },
        "seconds": seconds(report.elapsed),
        "interrupts": crosscheck,
        "host": run_log.host_report,
        "events": run_log.events,
    });
    let text = format!("{merged:#}\n");
    if file == Path::new(STDOUT) {
        return stdout().write_all(text.as_bytes()).context("cannot print the JSON");
    }
    fs::write(file, text).with_context(|| format!("--json: cannot write {}", file.display()))
}

#[cfg(test)]
mod tests;
