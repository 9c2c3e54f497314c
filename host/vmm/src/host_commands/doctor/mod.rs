//! `pvir doctor`: what this machine can do, one line for each check.

mod check;
mod devices;
mod host;
mod kvm;
mod limits;
mod selftest;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;

use check::{Check, Level};

/// What `--help` says.
pub(crate) const HELP: &str = "Each line: ok, warn, fail or skip; the check; what was found; after `help:`, what mends it.

Exit codes:
  0       guests can program devices directly: with BDFs, each of these; otherwise any, emulated ones included
  1       they cannot
  2       wrong command line

Whoever is not root is told what could not be seen. No setting is changed; a device that vfio-pci has is opened for a
moment, unless another program has it.";

/// `pvir doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Functions that are wanted, for example 0000:01:00.0
    #[arg(value_name = "BDF", value_parser = crate::host_commands::devices::parse_address)]
    devices: Vec<DeviceId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Looks, and says what it sees.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let host = Host::default();
    let mut checks = kvm::checks();
    let vm_works = checks.iter().all(|check| check.level != Level::Fail);
    checks.extend(limits::checks(&host));
    checks.extend(host::checks(&host));
    let isolates = !checks.iter().any(Check::blocks_host_devices);
    let groups = devices::checks(&host, isolates);
    checks.extend(groups.checks);
    let usable = if vm_works && isolates { groups.usable } else { Vec::new() };
    checks.push(summary(vm_works, &usable));
    let mut out = io::stdout().lock();
    for check in &checks {
        let line =
            if args.json { serde_json::to_string(check).context("--json")? } else { check.to_string() };
        writeln!(out, "{line}").context("cannot write to stdout")?;
    }
    let wanted = args.devices.iter().all(|device| usable.contains(device));
    Ok(ExitCode::from(u8::from(!(vm_works && wanted))))
}

fn summary(vm_works: bool, usable: &[DeviceId]) -> Check {
    if !vm_works {
        return Check::fail("direct", "no guest can run here", "mend what failed above");
    }
    if usable.is_empty() {
        return Check::ok(
            "direct",
            "guests can program emulated devices directly, and no device of the host",
        );
    }
    let names: Vec<_> = usable.iter().map(ToString::to_string).collect();
    Check::ok("direct", format!("guests can program emulated devices directly, and {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_works() {
        assert_eq!(summary(false, &[]).level, Level::Fail);
        assert!(summary(true, &[]).to_string().contains("no device of the host"));
        assert!(summary(true, &[DeviceId::default()]).to_string().contains("0000:00:00.0"));
    }
}
