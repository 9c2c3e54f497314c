//! Whole lives of drivers in a stock Linux guest, the same image in each: under `pvir` with the module for Linux, under
//! `pvir` without it, and under the VMMs that users have.

mod names;
mod page;
mod samples;
mod table;
mod way;

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::Options;
use super::machine::Machine;
use super::peers::{self, Peers};
use super::pictures;
use super::what::Way;
use crate::build::{Programs, workspace};
use crate::lab::setup::Setup;
use crate::lab::{self, Iommu, Outcome, Streams};
use crate::linux_module::life::{Bench, SCRIPT};
use crate::linux_module::{Missing, build};
use crate::progress::step;
use samples::Samples;
use way::Host;

/// Runs in L1.
const ROUNDS: &str = include_str!("rounds.sh");
/// In the order of their lives. The first that is a network card is the one whose network is waited for.
pub(super) const DRIVERS: [&str; 3] = ["igb", "e1000e", "nvme"];
/// In all, for each driver.
const MOVES: u32 = 100;
const MASKS: u32 = 100;
/// Rounds: one that counts, and one that is timed, and so on.
const FEW: u32 = 2;
const MANY: u32 = 6;
/// For the VMMs that travel along and unpack in memory.
const L1_MEMORY: &str = "3G";

/// Measures, and shows what came of it.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let cloud_hypervisor = peers::cloud_hypervisor(options.cloud_hypervisor.as_deref())?;
    let setup = Setup::ready()?;
    let module = match build(&setup.headers()?)? {
        Ok(built) => built,
        Err(Missing(what)) => bail!("the module for Linux guests cannot be built, this is missing: {what}"),
    };
    let programs = Programs::build()?;
    let peers = Peers::collect(&setup, cloud_hypervisor.as_ref())?;
    let mut bench = Bench::new(Iommu::Intel, module.all()?)?;
    bench.options.payload = Some(peers.folder().to_path_buf());
    bench.options.memory = L1_MEMORY.into();
    let hosts: Vec<Host> = hosts(&peers).collect();
    let rounds = options.rounds.unwrap_or(if options.quick { FEW } else { MANY });
    let asked =
        |driver: &&str| options.drivers.is_empty() || options.drivers.iter().any(|name| name == driver);
    let drivers: Vec<&str> = DRIVERS.into_iter().filter(asked).collect();
    let busy = busy_before();
    let text =
        step("Linux guests in the nested lab", format!("{rounds} rounds of {} ways", hosts.len()), || {
            guests(&setup, &programs, &bench.options, &hosts, &drivers, rounds)
        })?;
    let samples = Samples::read(&text).or_else(|error| kept(&text, error))?;
    let mut skipped = peers.skipped.clone();
    skipped.extend(busy);
    skipped.extend(samples.left_out.iter().cloned());
    let versions = peers.versions.iter().cloned().chain([format!("guest Linux {}", setup.l1.release())]);
    let machine = Machine::here(options.command(), versions.collect());
    let shown = table::render(&samples, &machine);
    println!("{shown}");
    for skipped in &skipped {
        println!("NOTE: {skipped}");
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&samples.json(&machine, &skipped))?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.record {
        let root = workspace::root();
        let mut pictures = Vec::new();
        for driver in drivers {
            let caption = format!("exits for interrupts in the life of Linux's {driver} (nested lab)");
            let file = format!("linux-{driver}");
            let steps = table::bars(&samples, driver);
            let picture = pictures::steps(&root.join("docs/pictures"), &file, caption, &machine, &steps)?;
            println!("drew {}", picture.display());
            pictures.push((driver, file));
        }
        page::record(&root.join(page::PAGE), &shown, &skipped, &pictures)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The error, which names a file with what could not be read: it took minutes to come by.
fn kept(text: &str, error: anyhow::Error) -> Result<Samples> {
    let (_, path) = tempfile::NamedTempFile::new()?.keep()?;
    fs::write(&path, text)?;
    Err(error.context(format!("what the lab said is in {}", path.display())))
}

/// Those that are at hand, in the order in which they take turns.
fn hosts(peers: &Peers) -> impl Iterator<Item = Host> {
    let has_cloud_hypervisor = peers.ways().any(|way| way == Way::CloudHypervisor);
    Host::ALL.into_iter().filter(move |host| *host != Host::CloudHypervisor || has_cloud_hypervisor)
}

/// What is said of times on a machine that others use meanwhile; counts do not depend on it.
fn busy_before() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = load.split_whitespace().next()?.parse().ok()?;
    let note = format!(
        "other programs were at work when this began (a load of {load:.1}): the times say less than on a quiet machine, \
         the counts the same"
    );
    (load >= BUSY).then_some(note)
}

/// Programs that run or want to.
const BUSY: f64 = 1.0;

fn guests(
    setup: &Setup,
    programs: &Programs,
    options: &lab::Options,
    hosts: &[Host],
    drivers: &[&str],
    rounds: u32,
) -> Result<String> {
    let mut argv: Vec<OsString> =
        ["sh", "-c", ROUNDS, "sh", SCRIPT, &rounds.to_string()].map(Into::into).to_vec();
    for host in hosts {
        argv.extend([host.name().into(), host.command(drivers, MOVES, MASKS).into()]);
    }
    let (streams, stdout, stderr) = Streams::captured(b"");
    match lab::run_with(setup, programs, options, &argv, streams)? {
        Outcome::Ended(0) => Ok(String::from_utf8_lossy(&stdout.take()).replace('\r', "")),
        other => bail!("{other:?}: {}", String::from_utf8_lossy(&stderr.take())),
    }
}
