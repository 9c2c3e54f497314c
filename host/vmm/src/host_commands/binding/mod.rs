//! `pvir bind` and `pvir unbind`: gives devices to vfio-pci, and back.
//!
//! Says first what it would write where, and does it only with `--yes`. Uses `driver_override`, so that no other device
//! with the same ids is touched.

mod plan;
pub(crate) mod usage;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;
use pvir_host::vfio::VfioWay;

use plan::{BindingPlan, Sysfs};

/// What `--help` says of exit codes.
pub(crate) const HELP: &str = "Exit codes:
  0       done, or nothing to do
  1       only said what would be done
  2       wrong command line
  3       refused or failed: the message says which file, and why";
const NOT_DONE: u8 = 1;

/// `pvir bind`, `pvir unbind`.
#[derive(Debug, clap::Args)]
pub(crate) struct BindArgs {
    /// The functions, for example 0000:01:00.0
    #[arg(value_name = "BDF", required = true, value_parser = crate::host_commands::devices::parse_address)]
    devices: Vec<DeviceId>,
    /// Do it; otherwise only say what would be done
    #[arg(long)]
    yes: bool,
}

/// Gives them to vfio-pci.
pub(crate) fn bind(args: &BindArgs) -> Result<ExitCode> {
    run(args, BindingPlan::bind)
}

/// Gives them back to the drivers that had them.
pub(crate) fn unbind(args: &BindArgs) -> Result<ExitCode> {
    run(args, BindingPlan::unbind)
}

fn run(args: &BindArgs, plan: fn(&Host, DeviceId) -> Result<BindingPlan>) -> Result<ExitCode> {
    let host = Host::default();
    // All of them are judged before one of them is touched.
    let plans = args.devices.iter().map(|device| plan(&host, *device)).collect::<Result<Vec<_>>>()?;
    let mut failed = Vec::new();
    for plan in &plans {
        say(&plan.to_string())?;
        for other in partners(&host, plan.device(), &args.devices) {
            say(&format!("    {other} is in the same IOMMU group: a guest gets both or none"))?;
        }
        if args.yes && !plan.is_empty() {
            match plan.carry_out(&host, &mut Sysfs) {
                Ok(()) => {
                    say(&format!(
                        "{}: done, now with {}{}",
                        plan.device(),
                        plan.wanted(),
                        nodes(&host, plan.device())
                    ))?;
                }
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\npvir: "));
    }
    if !args.yes && plans.iter().any(|plan| !plan.is_empty()) {
        say("nothing was done; help: --yes does it")?;
        return Ok(ExitCode::from(NOT_DONE));
    }
    Ok(ExitCode::SUCCESS)
}

/// The other endpoints of a device's group that are not among these.
fn partners(host: &Host, device: DeviceId, given: &[DeviceId]) -> Vec<DeviceId> {
    let members = host.group_endpoints(device).unwrap_or_default();
    members.into_iter().filter(|member| *member != device && !given.contains(member)).collect()
}

/// The files by which a VM opens a device that vfio-pci has now, for the two ways: who is not root needs one of them.
fn nodes(host: &Host, device: DeviceId) -> String {
    let nodes = [(VfioWay::Group, host.vfio_group_node(device)), (VfioWay::Cdev, host.vfio_node(device))];
    let there = nodes.into_iter().filter_map(|(way, node)| Some((way, node.filter(|node| node.exists())?)));
    let text: Vec<String> = there.map(|(way, node)| format!("{} (--vfio {way})", node.display())).collect();
    if text.is_empty() { String::new() } else { format!("; a VM opens it by {}", text.join(" or ")) }
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    #[test]
    fn the_files_of_both_ways_are_told() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(2));
        let device = crate::host_commands::devices::parse_address("0000:00:05.0").unwrap();
        assert_eq!(nodes(&fake.host, device), "");
        fake.write("dev/vfio/2", "");
        let group = nodes(&fake.host, device);
        assert!(
            group.starts_with("; a VM opens it by ") && group.ends_with("/dev/vfio/2 (--vfio group)"),
            "{group}"
        );
        fake.write(&format!("{}/vfio-dev/vfio7/dev", FakeHost::folder("0000:00:05.0")), "511:7\n");
        fake.write("dev/vfio/devices/vfio7", "");
        let both = nodes(&fake.host, device);
        assert!(both.ends_with("/dev/vfio/devices/vfio7 (--vfio cdev)"), "{both}");
    }

    #[test]
    fn who_shares_the_group_is_told() {
        let fake = FakeHost::new();
        for address in ["0000:00:05.0", "0000:00:05.1"] {
            fake.add(address, 0x02_0000, Some("igb"), Some(2));
        }
        let id = |address| crate::host_commands::devices::parse_address(address).unwrap();
        let (one, other) = (id("0000:00:05.0"), id("0000:00:05.1"));
        assert_eq!(partners(&fake.host, one, &[one]), [other]);
        assert_eq!(partners(&fake.host, one, &[one, other]), []);
    }
}
