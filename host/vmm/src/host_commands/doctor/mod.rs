//! `pvir doctor`: what this machine can do, one line for each check.

mod check;
mod devices;
mod host;
mod kvm;
mod limits;
mod sandbox;
mod selftest;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;

use check::{Check, Level};

/// What `--help` says.
pub(crate) const HELP: &str = "\
Each line: ok, warn, fail or skip; the check; what was found; after `help:`, what mends it.

Exit codes:
  0       guests can program devices directly: with BDFs, each of these;
          otherwise those of the host and emulated ones
  1       they cannot: with BDFs, not each of these (its line says why);
          otherwise no guest can run
  2       wrong command line
  4       without BDFs: emulated ones only, what failed keeps the host's out

Whoever is not root is told what could not be seen. No setting is changed; a device that vfio-pci has is opened for \
     a moment, unless another program has it.";

/// Not what was asked for.
const CANNOT: u8 = 1;
/// Something failed that keeps VFIO from working.
const EMULATED_ONLY: u8 = 4;

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
    checks.extend(sandbox::checks());
    checks.extend(host::checks(&host));
    let isolates = !checks.iter().any(Check::blocks_host_devices);
    let groups = devices::checks(&host, isolates);
    checks.extend(groups.checks);
    let usable = if vm_works && isolates { groups.usable.clone() } else { Vec::new() };
    let missing: Vec<DeviceId> =
        args.devices.iter().copied().filter(|device| !usable.contains(device)).collect();
    let fit = |device: &DeviceId| groups.usable.contains(device);
    checks.extend(args.devices.iter().map(|device| devices::named(&host, *device, fit(device), &usable)));
    checks.push(summary(vm_works, &usable, &missing));
    let mut out = io::stdout().lock();
    for check in &checks {
        let line =
            if args.json { serde_json::to_string(check).context("--json")? } else { check.to_string() };
        writeln!(out, "{line}").context("cannot write to stdout")?;
    }
    Ok(ExitCode::from(match (vm_works && missing.is_empty(), isolates || !args.devices.is_empty()) {
        (false, _) => CANNOT,
        (true, false) => EMULATED_ONLY,
        (true, true) => 0,
    }))
}

fn summary(vm_works: bool, usable: &[DeviceId], missing: &[DeviceId]) -> Check {
    let names = |devices: &[DeviceId]| devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !vm_works {
        return Check::fail("direct", "no guest can run here", "mend what failed above");
    }
    if !missing.is_empty() {
        let what = format!("guests cannot program {} directly", names(missing));
        return Check::fail("direct", what, "see what failed above");
    }
    if usable.is_empty() {
        return Check::ok(
            "direct",
            "guests can program emulated devices directly, and no device of the host",
        );
    }
    Check::ok("direct", format!("guests can program emulated devices directly, and {}", names(usable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_works() {
        let device = DeviceId::default();
        assert_eq!(summary(false, &[], &[]).level, Level::Fail);
        assert!(summary(true, &[], &[]).to_string().contains("no device of the host"));
        assert!(summary(true, &[device], &[]).to_string().contains("0000:00:00.0"));
        assert!(
            summary(true, &[], &[device]).to_string().starts_with("fail  direct: guests cannot program 0000")
        );
    }
}
