//! What a VM does over and over, with its footprint on the host looked at: a few rounds in the suite, a thousand by
//! `cargo xtask lives`. The cases are those of `lab-driver`'s `lives`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use super::driver::{drive_here, findings};
use super::own_kvm::{skipped, usable};
use super::product::ONE_CPU;
use crate::lab::{self, Iommu};
use crate::runner::{Batch, Finding, Verdict};

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[
        (
            "kvm/attach",
            "a busy device is taken late and given back: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        (
            "kvm/sessions",
            "DISABLE and ENABLE under traffic: no interrupt is lost, old pairs are dead, nothing leaks",
        ),
        (
            "kvm/resets",
            "function level resets under traffic: entries stay mapped and come back masked, nothing leaks",
        ),
        (
            "kvm/reboots",
            "a guest resets its machine under traffic, by a panic too: each boot is as the first, nothing leaks",
        ),
        (
            "kvm/reboots-plugged",
            "a guest resets its machine after a device came, and while one is to go: the first is reset, the other gone",
        ),
    ],
    run: |names| own_kvm(names, None),
};

/// What is done over and over.
const NAMES: [&str; 6] = ["attach", "sessions", "resets", "plug", "reboots", "panics"];
/// So often here, and in the lab.
const THOUSAND: u64 = 1000;
const HUNDRED: u64 = 100;

/// Attaches, disables, resets, plugs, reboots and panics a thousand times under traffic, and counts what the kernel holds (some ten minutes)
#[derive(Args)]
pub(crate) struct Options {
    /// What to do over and over [default: all of it]
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
    /// How often [default: 1000, in the lab 100]
    #[arg(long)]
    rounds: Option<u64>,
    /// In the lab, with a device that is passed through, in place of the emulated one on this machine's KVM
    #[arg(long, value_enum, value_name = "IOMMU")]
    lab: Option<Iommu>,
    /// The device of the lab, as QEMU's -device takes it
    #[arg(long, default_value = "igb", requires = "lab")]
    device: String,
}

/// Runs it, and says what came of it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut failed = false;
    for name in NAMES {
        if !options.names.is_empty() && !options.names.iter().any(|asked| asked == name) {
            continue;
        }
        let findings = match options.lab {
            None => own_kvm(&[name], Some(options.rounds.unwrap_or(THOUSAND)))?,
            Some(iommu) => in_lab(iommu, &options.device, name, options.rounds.unwrap_or(HUNDRED))?,
        };
        for Finding { result, took, .. } in findings {
            let said = match result {
                Ok(Verdict::Passed(note)) => note,
                Ok(Verdict::Skipped(missing)) => bail!("this is missing: {missing}"),
                Ok(_) => bail!("interrupted"),
                Err(error) => {
                    failed = true;
                    format!("FAILED: {error:#}")
                }
            };
            println!("{name}, {:.0} s: {said}", took.as_secs_f64());
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// With the emulated device, so often or as often as the suite does it.
fn own_kvm(names: &[&str], rounds: Option<u64>) -> Result<Vec<Finding>> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let variables: Vec<(&str, String)> = rounds.iter().map(|rounds| (ROUNDS, rounds.to_string())).collect();
    let driven = |name: &&str| {
        let case = name.rsplit('/').next().unwrap_or(name);
        Ok(drive_here(&programs, &format!("{case}-own-kvm"), name, &variables)?.finding)
    };
    names.iter().map(driven).collect()
}

/// The variable by which `lab-driver` is told.
const ROUNDS: &str = "PVIR_ROUNDS";

fn in_lab(iommu: Iommu, device: &str, name: &str, rounds: u64) -> Result<Vec<Finding>> {
    let options = lab::Options {
        iommu,
        cpus: ONE_CPU,
        devices: vec![device.to_owned()],
        variables: vec![OsString::from(format!("{ROUNDS}={rounds}"))],
        ..lab::Options::default()
    };
    findings(&options, &[name])
}
