//! `pvir devices`: what can be passed through, and why not the rest.

pub(crate) mod class;
pub(crate) mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::isolation::{Function, Host, MessageCounts};
use serde::Serialize;

use verdict::Verdict;

/// `pvir devices`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevicesArgs {
    /// Bridges too
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// One function of the host.
#[derive(Debug, Serialize)]
struct DeviceRow {
    address: String,
    ids: String,
    class: &'static str,
    driver: Option<String>,
    group: Option<u32>,
    /// Its own file, where VFIO has one for it.
    cdev: Option<String>,
    /// Nothing where this user may not see.
    msi_messages: Option<u32>,
    msix_entries: Option<u32>,
    /// What the device has and a guest is not shown.
    hidden: Option<Vec<String>>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Lists them.
pub(crate) fn run(args: &DevicesArgs) -> Result<ExitCode> {
    let host = Host::default();
    let mut out = io::stdout().lock();
    for row in rows(&host, args.all)? {
        let line = if args.json { serde_json::to_string(&row).context("--json")? } else { line(&row) };
        writeln!(out, "{line}").context("cannot write to stdout")?;
    }
    for reason in host.host_reasons().into_iter().filter(|_| !args.json) {
        writeln!(out, "no device can be programmed directly on this host: {reason}")
            .context("cannot write to stdout")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(host: &Host, all: bool) -> Result<Vec<DeviceRow>> {
    let addresses = host.functions().context("cannot list /sys/bus/pci/devices\nhelp: mount /sys")?;
    // A function that went meanwhile is no error.
    let functions = addresses.into_iter().filter_map(|address| host.function(address).ok());
    Ok(functions
        .filter(|function| all || !function.is_bridge())
        .map(|function| row(host, function))
        .collect())
}

fn row(host: &Host, function: Function) -> DeviceRow {
    let messages: Option<MessageCounts> = host.messages(function.address);
    let hidden = host.hidden_parts(function.address).filter(|_| !function.is_bridge());
    DeviceRow {
        address: function.address.to_string(),
        ids: format!("{:04x}:{:04x}", function.vendor, function.device),
        class: class::name(function.class),
        verdict: verdict::of(host, &function),
        driver: function.driver,
        group: function.group,
        cdev: host.vfio_node(function.address).map(|node| node.display().to_string()),
        msi_messages: messages.map(|messages| messages.msi),
        msix_entries: messages.map(|messages| messages.msix),
        hidden: hidden.map(|parts| parts.iter().map(ToString::to_string).collect()),
    }
}

fn line(row: &DeviceRow) -> String {
    let DeviceRow { address, ids, class, .. } = row;
    let driver = row.driver.as_deref().unwrap_or("no driver");
    let group = row.group.map_or("no group".to_owned(), |group| format!("group {group}"));
    let cdev = row.cdev.as_ref().map(|node| format!(", cdev {node}")).unwrap_or_default();
    let messages = match (row.msi_messages, row.msix_entries) {
        (Some(0), Some(0)) => "no MSI".to_owned(),
        (Some(msi), Some(0)) => format!("MSI {msi}"),
        (Some(0), Some(msix)) => format!("MSI-X {msix}"),
        (Some(msi), Some(msix)) => format!("MSI {msi}, MSI-X {msix}"),
        _ => "MSI not to be seen by this user".to_owned(),
    };
    let hidden = match row.hidden.as_deref() {
        None | Some([]) => String::new(),
        Some(parts) => format!("\n    not shown to a guest: {}", parts.join(", ")),
    };
    format!("{address}  {ids}  {class}, {driver}, {group}{cdev}, {messages}\n    {}{hidden}", row.verdict)
}

/// The argument of a command that takes devices.
pub(crate) fn parse_address(text: &str) -> Result<DeviceId, String> {
    crate::device_spec::parse_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    #[test]
    fn bridges_are_shown_only_when_asked_for() {
        let fake = FakeHost::new();
        fake.add("0000:00:00.0", 0x06_0000, None, Some(1));
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(2));
        let shown =
            |all| rows(&fake.host, all).unwrap().iter().map(|row| row.address.clone()).collect::<Vec<_>>();
        assert_eq!(shown(false), ["0000:00:05.0"]);
        assert_eq!(shown(true), ["0000:00:00.0", "0000:00:05.0"]);
    }

    #[test]
    fn a_line_says_all_that_a_user_needs() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(2));
        let rows = rows(&fake.host, false).unwrap();
        assert_eq!(
            line(&rows[0]),
            "0000:00:05.0  8086:10c9  network controller, vfio-pci, group 2, MSI 1, MSI-X 10\n    \
             ready: --device vfio=0000:00:05.0\n    not shown to a guest: MSI beside MSI-X (at 0x50)"
        );
        let rows = {
            fake.write(&format!("{}/vfio-dev/vfio7/dev", FakeHost::folder("0000:00:05.0")), "511:7\n");
            super::rows(&fake.host, false).unwrap()
        };
        assert!(line(&rows[0]).contains("/dev/vfio/devices/vfio7, MSI 1"), "{}", line(&rows[0]));
        let json = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!((&json["verdict"], &json["msix_entries"]), (&"ready".into(), &10.into()));
    }

    #[test]
    fn a_host_without_sysfs_is_an_error_with_a_remedy() {
        let error = rows(&Host::at(std::path::Path::new("/nowhere")), false).unwrap_err();
        assert!(format!("{error:#}").contains("help: mount /sys"), "{error:#}");
    }
}
