//! Every entry of the largest device on every processor of a large machine, on this machine's own KVM.
//!
//! All of it takes long where the guest's kernel is interpreted: the test suite goes through a part, `run.sh scale`
//! through everything.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::Programs;

/// Processors, and the highest APIC id among them.
const CPUS: u32 = 350;
const HIGHEST_APIC_ID: u32 = 4095;
/// The device.
const DEVICE: &str = "emulated,vectors=2048,ims=0";

/// Brings each of 2,048 MSI-X entries to each of 350 CPUs with APIC ids up to 4095, and counts (some two minutes)
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each brings every entry to the next CPU, so that 350 are everything
    #[arg(default_value_t = u64::from(CPUS))]
    rounds: u64,
    /// Round to begin with
    #[arg(long, default_value_t = 0)]
    from: u64,
}

/// Arguments of `pvir run` for the machine: APIC ids spread evenly, with gaps.
pub(crate) fn machine() -> [String; 4] {
    let ids: Vec<String> = (0..CPUS).map(|cpu| (cpu * HIGHEST_APIC_ID / (CPUS - 1)).to_string()).collect();
    ["--apic-ids".to_owned(), ids.join(","), "--device".to_owned(), DEVICE.to_owned()]
}

/// Runs it, and shows what the guest says.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let programs = Programs::build()?;
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let words = format!("scale rounds={} from={}", options.rounds, options.from);
    let mut child = Command::new(pvir)
        .arg("run")
        .args(machine())
        .args(["--append", &words])
        .arg(&programs.kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start pvir")?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("what the guest says cannot be read")?;
            if !line.starts_with("@pvir ") {
                println!("{line}");
            }
        }
    }
    let passed = child.wait()?.success();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apic_ids_are_sparse_and_reach_the_highest() {
        let ids: Vec<u32> = machine()[1].split(',').map(|id| id.parse().unwrap()).collect();
        assert_eq!((ids.len(), ids[0], ids[1], ids.last()), (350, 0, 11, Some(&4095)));
        assert!(ids.windows(2).all(|two| two[1] > two[0] + 1));
    }
}
