//! Pairs that the kernel itself returns, by a feature of VFIO that only a patched kernel has (docs/kernel): they are
//! those in the device and in the remapping table, and nothing else of a VM is otherwise.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::pairs;
use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::Vm;
use crate::witness::{ask, hex};

/// The number that the patches of docs/kernel give the feature.
const FEATURE: &str = "14";
/// A feature that every device has, and that is no question for messages.
const ANOTHER: &str = "5";
/// A feature that no kernel has.
const NONE: &str = "6000";
const COUNTED: &str = "VFIO_DEVICE_FEATURE";
/// Exit status: this machine does not let the run start.
const ENVIRONMENT: i32 = 3;

pub(super) fn run() -> Result<CaseReport> {
    let shown = pairs::with(&["--vfio-messages", FEATURE])?;
    let asked = number(&shown.report["ioctls"], &format!("/{COUNTED}"));
    ensure!(asked >= 10, "the kernel was asked {asked} times: {}", shown.report["ioctls"]);
    let msi = single()?;
    for number in [ANOTHER, NONE] {
        refused(number)?;
    }
    Ok(format!(
        "by the kernel, asked {asked} times: {}; {msi}; features {ANOTHER} and {NONE} are refused",
        shown.note
    )
    .into())
}

/// The one message of a device that has MSI only.
fn single() -> Result<&'static str> {
    let device = host::device(1)?;
    let vfio = format!("vfio={device}");
    let mut vm =
        Vm::start(&["--device", &vfio, "--vfio-messages", FEATURE], "direct interrupts=20 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let given: Vec<Value> = vm.events("entry");
    same("messages", &given.len(), &1)?;
    let held = ask(&["msi", &device])?;
    let pair = |value: &Value| -> Result<_> { Ok((hex(value, "address")?, number(value, "/data"))) };
    same("the device's message", &pair(&held[0])?, &pair(&given[0])?)?;
    vm.run_out()?.passed()?;
    Ok("the message of an MSI device likewise")
}

/// A number that is not the feature's is no reason to read from the device instead.
fn refused(number: &str) -> Result<()> {
    let vfio = format!("vfio={}", host::device(0)?);
    let ended =
        Vm::start(&["--device", &vfio, "--vfio-messages", number], "direct interrupts=20")?.finish()?;
    same("exit status", &ended.status, &Some(ENVIRONMENT))?;
    for word in ["does not return messages by feature", "--vfio-messages"] {
        ensure!(ended.stderr.contains(word), "the message does not say {word:?}: {}", ended.stderr);
    }
    Ok(())
}
