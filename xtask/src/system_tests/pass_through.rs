//! Streams, status and arguments pass through byte for byte, and the devices are bound in the order that was asked for.

use anyhow::{Result, ensure};

use super::in_lab;
use crate::lab::Options;
use crate::runner::{Step, Verdict};

pub(super) const CASE: Step =
    Step { name: "lab/pass-through", about: "streams, status and arguments; devices bound to vfio-pci", run };

/// Runs in L1: what it reads and gets as arguments goes to stderr, what the witness sees to stdout.
const SCRIPT: &str = r#"
cat >&2
printf '%s|' "$@" >&2
for device in $PVIR_DEVICES; do lab-witness device $device; done
exit 42
"#;

fn run() -> Result<Verdict> {
    let options = Options { devices: vec!["igb".into(), "edu,addr=0x10".into()], ..Options::default() };
    let input: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    let arguments = ["two words", "", "'\"$HOME\\", "--\n"];
    let argv: Vec<&str> = ["sh", "-c", SCRIPT, "sh"].into_iter().chain(arguments).collect();

    let output = in_lab(&options, &argv, &input)?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(42)?;

    let expected = [&input, format!("{}|", arguments.join("|")).as_bytes()].concat();
    ensure!(output.stderr == expected, "input or arguments did not pass unchanged");
    let devices = output.json_lines()?;
    let ids: Vec<_> = devices.iter().map(|device| device["device"].as_str().unwrap_or_default()).collect();
    ensure!(ids == ["0x10c9", "0x11e8"], "not igb, then edu, but {ids:?}");
    for device in &devices {
        ensure!(device["driver"] == "vfio-pci", "{device} is not bound to vfio-pci");
        let alone = device["group_members"].as_array().is_some_and(|members| members.len() == 1);
        ensure!(alone, "{device} shares its IOMMU group");
    }
    Ok(Verdict::passed())
}
