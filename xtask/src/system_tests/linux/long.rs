//! The lives of a Linux guest with the module, as often as a test has no time for: `xtask linux`. Each driver has a machine
//! of its own, and a row in a dated report.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::pvir::{built, lives};
use crate::campaign::report::Report;
use crate::lab::Iommu;
use crate::linux_module::deb;
use crate::linux_module::life::{Life, Record, Step};

/// What a machine of its own is for: drivers, and the module that comes and goes under one of them.
const PARTS: [&str; 5] = ["igb", "e1000e", "nvme", "emulated", RELOADS];
const RELOADS: &str = "reloads";
const HEAD: [&str; 10] = [
    "host",
    "part",
    "seconds",
    "moves",
    "CPU off and on",
    "unbound and bound",
    "module unloaded and loaded",
    "calls",
    "ioctls for interrupts",
    "exits by a table",
];
const ABOUT: &str =
    "takes a stock Linux guest with the module through the lives of its drivers, under traffic";

/// Take a Linux guest with the module through its drivers' lives so often that it takes an hour; or build its package
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    package: Option<Package>,
    #[command(flatten)]
    lives: Lives,
}

#[derive(Subcommand)]
enum Package {
    Deb(deb::Options),
}

#[derive(Args)]
struct Lives {
    /// Drivers, or `reloads` for the module that comes and goes under one [default: all of it]
    #[arg(value_name = "PART", value_parser = PARTS)]
    parts: Vec<String>,
    /// On a host with this IOMMU [default: one after the other]
    #[arg(long, value_enum)]
    lab: Option<Iommu>,
    /// Changes of affinity by each driver
    #[arg(long, default_value_t = 10_000)]
    moves: u32,
    /// How often a CPU goes offline, a driver is unbound, and the module is unloaded
    #[arg(long, default_value_t = 100)]
    times: u32,
    /// Do again what an interrupted run of the same commit has done
    #[arg(long)]
    afresh: bool,
}

/// `xtask linux`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match &options.package {
        Some(Package::Deb(options)) => deb::run(options),
        None => all(&options.lives),
    }
}

fn all(options: &Lives) -> Result<ExitCode> {
    let command = format!("./run.sh linux --moves {} --times {}", options.moves, options.times);
    let mut report = Report::begin("linux", ABOUT, command, options.afresh)?;
    report.head = HEAD.map(str::to_owned).to_vec();
    let mut failed = Vec::new();
    let is_asked = |part: &&str| options.parts.is_empty() || options.parts.iter().any(|asked| asked == part);
    for (iommu, host) in [(Iommu::Intel, "intel"), (Iommu::Amd, "amd")] {
        let is_asked_of = options.lab.is_none_or(|asked| asked == iommu);
        for part in PARTS {
            let name = format!("{host} {part}, {} moves, {} times", options.moves, options.times);
            // What an interrupted run has done is in the report, asked for or not.
            if report.has_done(&name) || !is_asked_of || !is_asked(&part) {
                continue;
            }
            if let Err(error) = one(&mut report, iommu, (host, part), &name, options) {
                report.add(&name, &row(host, part, &["failed"]), false)?;
                report.note(format!("{host} {part}: {error:#}\n"));
                failed.push(format!("{host} {part}"));
            }
        }
    }
    let failure = (!failed.is_empty()).then(|| anyhow::anyhow!("failed: {}", failed.join(", ")));
    println!("{}", report.write(failure.as_ref())?.display());
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// One machine.
fn one(
    report: &mut Report,
    iommu: Iommu,
    (host, part): (&str, &'static str),
    name: &str,
    options: &Lives,
) -> Result<()> {
    let built = match built()? {
        Ok(built) => built,
        Err(missing) => bail!("this is missing: {missing}"),
    };
    let life = life(part, options);
    let start = Instant::now();
    let Some(record) = lives(iommu, &built, &life)? else { bail!("interrupted") };
    let seconds = start.elapsed().as_secs();
    let sum = |of: fn(&Step) -> u64| record.steps.iter().map(of).sum::<u64>();
    let moved: u64 =
        record.said("moved ").filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    let is_driver = part != RELOADS;
    let count = |of: u32| if is_driver { of.to_string() } else { "-".into() };
    let cells = [
        seconds.to_string(),
        if is_driver { moved.to_string() } else { "-".into() },
        count(life.offline),
        count(life.rebinds),
        if is_driver { "-".into() } else { life.reloads.to_string() },
        sum(Step::all_calls).to_string(),
        sum(Step::all_ioctls).to_string(),
        // Without the module tables are trapped, as they are meant to be.
        if is_driver { sum(|step| step.table_exits).to_string() } else { "-".into() },
    ];
    report.add(name, &row(host, part, &cells.each_ref().map(String::as_str)), true)?;
    for said in said(&record) {
        report.note(format!("- {host} {part}: {said}"));
    }
    Ok(())
}

fn life(part: &'static str, options: &Lives) -> Life {
    let drivers: Vec<&str> = (part != RELOADS).then_some(part).into_iter().collect();
    Life {
        module: true,
        moves: options.moves,
        masks: 100,
        offline: options.times,
        rebinds: options.times,
        reloads: if drivers.is_empty() { options.times } else { 0 },
        drivers,
    }
}

fn row(host: &str, part: &str, cells: &[&str]) -> String {
    format!("| {host} | {part} | {} |", cells.join(" | "))
}

/// What the guest has seen of it: rounds of its traffic, the numbers of the emulated device, what is left in its kernel.
fn said(record: &Record) -> Vec<String> {
    let mut said: Vec<String> =
        record.said("worked ").map(|line| format!("traffic {}", line.trim())).collect();
    // The same is said after each of very many binds.
    let device = record.said("device ").filter(|line| !line.starts_with("rebind "));
    said.extend(device.map(|line| line.trim().to_owned()));
    let left: Vec<&str> = record.said("left unloaded ").map(str::trim).collect();
    if let (Some(first), Some(last)) = (left.first(), left.last()) {
        said.retain(|line| !line.contains(" without "));
        said.push(format!("left after unload {first}; {last}"));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Lives {
        Lives { parts: Vec::new(), lab: None, moves: 7, times: 3, afresh: false }
    }

    #[test]
    fn each_part_has_a_machine_of_its_own_and_the_module_goes_in_one_of_them() {
        let lives = PARTS.map(|part| life(part, &options()));
        assert_eq!(lives.each_ref().map(|life| life.drivers.len()), [1, 1, 1, 1, 0]);
        assert_eq!(lives.each_ref().map(|life| life.reloads), [0, 0, 0, 0, 3]);
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let row = row("intel", "igb", &["1"; 8]);
        assert_eq!(row.matches(" | ").count() + 1, HEAD.len());
    }
}
