//! Reads the truth in L1, from outside the product: what the kernel and the hardware hold, as lines of JSON.
//!
//! Nothing here is shared with the code under test, on purpose: the two must agree without having anything in common.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;

mod faults;
mod intel;
mod irqs;
mod kcore;
mod kvm_stats;
mod mmio;
mod msi;
mod pci;
mod pci_info;

const USAGE: &str = "lab-witness: what kernel and hardware hold, as lines of JSON

  lab-witness device BDF            the driver and the IOMMU group of a PCI function
  lab-witness irt                   every interrupt remapping table, its present entries
  lab-witness irt --all             absent entries too
  lab-witness msix BDF              the device's own MSI-X table, read from its memory
  lab-witness msi BDF               the device's own MSI message, read from its config space
  lab-witness irqs BDF              the host's IRQs of a device that VFIO has, their counts and CPUs
  lab-witness move-irqs BDF CPU     move all of them to a CPU, then show them
  lab-witness kvm-stats [PID]       KVM's counters, of all VMs that run or those of one process
  lab-witness faults                what the IOMMU's driver said about blocked messages";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-witness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["device", bdf] => print(&pci_info::of(bdf)?),
        ["irt"] => intel::show(false),
        ["irt", "--all"] => intel::show(true),
        ["msix", bdf] => print_all(&msi::msix_table(bdf)?),
        ["msi", bdf] => print(&msi::message(bdf)?),
        ["irqs", bdf] => print_all(&irqs::of(bdf)?),
        ["move-irqs", bdf, cpu] => {
            irqs::move_to(bdf, cpu.parse().with_context(|| format!("{cpu} is no number of a CPU"))?)?;
            print_all(&irqs::of(bdf)?)
        }
        ["kvm-stats"] => kvm_stats::show(None),
        ["kvm-stats", pid] => kvm_stats::show(Some(pid)),
        ["faults"] => print_all(&faults::all()?),
        ["--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("cannot understand {words:?}\n{USAGE}"),
    }
}

/// Prints one line of JSON.
fn print(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

fn print_all(values: &[impl Serialize]) -> Result<()> {
    values.iter().try_for_each(print)
}
