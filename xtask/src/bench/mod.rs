//! What pvir costs, beside what users have today: the same kernel under `pvir` in direct and in trapped mode, under QEMU,
//! and under Cloud Hypervisor, interleaved in one run.

mod aims;
mod figures;
mod histogram;
mod kvm;
mod lab;
mod linux;
pub(crate) mod machine;
mod peers;
mod pictures;
mod plan;
mod process;
mod report;
mod run_figures;
mod table;
mod what;
pub(crate) mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::build::Programs;
use crate::build::workspace;
use figures::Figures;
use plan::Plan;

/// Measure set-up, retarget, mask, tear-down and delivery, with pvir and beside what users have today (8 minutes)
#[derive(Args)]
pub(crate) struct Options {
    /// Fewer repetitions and sizes: a minute or two
    #[arg(long)]
    quick: bool,
    /// Write all figures as JSON to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw docs/pictures/ anew
    #[arg(long)]
    pictures: bool,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// A Cloud Hypervisor to measure beside [default: the one that PVIR_CLOUD_HYPERVISOR names]
    #[arg(long, value_name = "FILE")]
    cloud_hypervisor: Option<PathBuf>,
    /// In place of all that: whole lives of drivers in a stock Linux guest, with the module and without, and in other VMMs
    #[arg(long, conflicts_with_all = ["only", "pictures"])]
    linux: bool,
    /// Rounds of --linux: every second one counts, the others are timed [default: 6, with --quick 2]
    #[arg(long, value_name = "N", requires = "linux", value_parser = clap::value_parser!(u32).range(2..=100))]
    rounds: Option<u32>,
    /// Drivers that --linux takes through their lives [default: all]
    #[arg(long, value_name = "NAME,...", requires = "linux", value_delimiter = ',', value_parser = linux::DRIVERS)]
    drivers: Vec<String>,
    /// Write what --linux finds into docs/performance.md, with its picture
    #[arg(long, requires = "linux")]
    record: bool,
}

/// Where is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The service in a process, without a kernel or a device
    Process,
    /// The machine's own KVM, with the emulated device
    Kvm,
    /// The nested lab, with devices passed through
    Lab,
}

impl Options {
    /// The command that measures the same. A page that shows it is read elsewhere, so it names no file of this machine.
    fn command(&self) -> String {
        let mut words = vec!["./run.sh bench".to_owned()];
        words.extend(self.quick.then(|| "--quick".to_owned()));
        let part = self.only.and_then(|part| part.to_possible_value());
        words.extend(part.map(|part| format!("--only {}", part.get_name())));
        words.extend(self.linux.then(|| "--linux".to_owned()));
        words.extend(self.rounds.map(|rounds| format!("--rounds {rounds}")));
        words.extend((!self.drivers.is_empty()).then(|| format!("--drivers {}", self.drivers.join(","))));
        words.extend(self.pictures.then(|| "--pictures".to_owned()));
        words.extend(self.record.then(|| "--record".to_owned()));
        words.join(" ")
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.linux {
        return linux::run(options);
    }
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let cloud_hypervisor =
        if wanted(Part::Lab) { peers::cloud_hypervisor(options.cloud_hypervisor.as_deref())? } else { None };
    let times = wanted(Part::Process).then(|| process::measure(options.quick)).transpose()?;
    let mut figures = Figures::default();
    let (mut skipped, mut versions) = (Vec::new(), Vec::new());
    // A process needs neither VMM nor kernel.
    let programs = (options.only != Some(Part::Process)).then(Programs::build).transpose()?;
    if let Some(programs) = programs.as_ref().filter(|_| wanted(Part::Kvm)) {
        skipped.extend(kvm::measure(programs, &plan, &mut figures)?);
    }
    if let Some(programs) = programs.as_ref().filter(|_| wanted(Part::Lab)) {
        let peers = lab::measure(programs, &plan, cloud_hypervisor.as_ref(), &mut figures)?;
        skipped.extend(peers.skipped);
        versions = peers.versions;
    }
    let machine = machine::Machine::here(options.command(), versions);
    println!("{}\n", table::render(&figures, &machine));
    if let Some(times) = &times {
        println!("{}", times.render());
    }
    let aims = aims::evaluate(&figures);
    if !aims.is_empty() {
        println!("{}", table::aims(&aims));
    }
    for skipped in &skipped {
        println!("SKIPPED: {skipped}");
    }
    if let Some(path) = &options.json {
        let text =
            serde_json::to_string_pretty(&report::json(&figures, times.as_ref(), &machine, &aims, &skipped))?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.pictures {
        let folder = workspace::root().join("docs/pictures");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for path in pictures::draw(&figures, &folder, &machine)? {
            println!("drew {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_is_shown_names_no_file() {
        let mut options = Options {
            quick: false,
            json: Some("/tmp/figures.json".into()),
            pictures: true,
            only: Some(Part::Lab),
            cloud_hypervisor: Some("/opt/cloud-hypervisor".into()),
            linux: false,
            rounds: None,
            drivers: Vec::new(),
            record: false,
        };
        assert_eq!(options.command(), "./run.sh bench --only lab --pictures");
        options = Options { quick: true, pictures: false, only: None, ..options };
        assert_eq!(options.command(), "./run.sh bench --quick");
        options = Options { quick: false, linux: true, rounds: Some(4), record: true, ..options };
        assert_eq!(options.command(), "./run.sh bench --linux --rounds 4 --record");
        options.drivers = vec!["igb".into(), "nvme".into()];
        assert_eq!(options.command(), "./run.sh bench --linux --rounds 4 --drivers igb,nvme --record");
    }
}
