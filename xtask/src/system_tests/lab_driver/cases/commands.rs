//! `pvir doctor`, `devices`, `bind` and `unbind`, against what the kernel says.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{same, text};
use crate::host;
use crate::vm::Vm;

/// Exit statuses of the commands.
const DONE: i32 = 0;
const NOT_DONE: i32 = 1;
/// Of `pvir doctor`: no device of the host can be had.
const EMULATED_ONLY: i32 = 4;
const REFUSED: i32 = 3;

/// The lab's own serial adapter, which `lab-init` has open.
const OWN_SERIAL: &str = "0000:00:1e.0";
const ISA_BRIDGE: &str = "0000:00:1f.0";

struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn pvir(arguments: &[&str]) -> Result<Said> {
    let output =
        Command::new("pvir").args(arguments).stdin(Stdio::null()).output().context("cannot start pvir")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

impl Said {
    fn with_status(self, expected: i32) -> Result<Self> {
        same("exit status", &self.status, &Some(expected))
            .with_context(|| format!("{}{}", self.stdout, self.stderr))?;
        Ok(self)
    }

    fn lines(&self) -> Result<Vec<Value>> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }
}

/// The doctor's line about `check` that has all of these words, at this level.
fn expect(lines: &[Value], check: &str, level: &str, words: &[&str]) -> Result<()> {
    let about = lines.iter().filter(|line| line["check"] == check);
    let fits =
        |line: &&Value| line["level"] == level && words.iter().all(|word| text(line, "what").contains(word));
    let found = about.clone().any(|line| fits(&line));
    ensure!(found, "no line {level} {check} with {words:?}, but {:?}", about.collect::<Vec<_>>());
    Ok(())
}

pub(super) fn doctor() -> Result<CaseReport> {
    const SWITCH: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    let device = host::device(0)?;
    let vendor = if fs::exists("/sys/class/iommu/dmar0")? { "Intel VT-d" } else { "AMD-Vi" };
    let lines = pvir(&["doctor", "--json", &device])?.with_status(DONE)?.lines()?;
    expect(&lines, "kvm", "ok", &["all that is needed"])?;
    expect(&lines, "conduits", "ok", &["a guest uses VMMCALL"])?;
    expect(&lines, "self-test", "ok", &["VMMCALL, MSR, port"])?;
    expect(&lines, "iommu", "ok", &[vendor])?;
    expect(&lines, "interrupt remapping", "ok", &["x2APIC"])?;
    expect(&lines, "switches", "ok", &[])?;
    expect(
        &lines,
        "kernel",
        "ok",
        &[fs::read_to_string("/proc/sys/kernel/osrelease")?.split('+').next().unwrap_or("?")],
    )?;
    expect(&lines, "posted interrupts", "ok", &["off"])?;
    expect(&lines, "vfio", "ok", &[])?;
    expect(&lines, "group", "ok", &[&device, "bound to vfio-pci"])?;
    expect(&lines, "device", "ok", &[&device, "10 MSI-X entries", "dynamic"])?;
    expect(&lines, "direct", "ok", &[&device])?;

    fs::write(SWITCH, "Y").context(SWITCH)?;
    let weak = pvir(&["doctor", "--json", &device]);
    fs::write(SWITCH, "N").context(SWITCH)?;
    let lines = weak?.with_status(NOT_DONE)?.lines()?;
    expect(&lines, "switches", "fail", &[SWITCH])?;
    expect(&lines, "named", "fail", &[&device, "with this host"])?;
    expect(&lines, "direct", "fail", &[&device])?;
    Ok(format!("{vendor}: {} lines", lines.len()).into())
}

pub(super) fn doctor_without_iommu() -> Result<CaseReport> {
    let lines = pvir(&["doctor", "--json"])?.with_status(EMULATED_ONLY)?.lines()?;
    expect(&lines, "iommu", "fail", &["uses none"])?;
    expect(&lines, "interrupt remapping", "fail", &["off"])?;
    expect(&lines, "direct", "ok", &["no device of the host"])?;
    pvir(&["doctor", &host::device(0)?])?.with_status(NOT_DONE)?;
    Ok(format!("{} lines", lines.len()).into())
}

pub(super) fn devices() -> Result<CaseReport> {
    let rows = pvir(&["devices", "--json"])?.with_status(DONE)?.lines()?;
    let row = |bdf: &str| {
        rows.iter().find(|row| row["address"] == bdf).with_context(|| format!("{bdf} is not there"))
    };
    let nic = host::device(0)?;
    let nic = row(&nic)?;
    same("igb", &(&nic["verdict"], &nic["msix_entries"]), &(&"ready".into(), &10.into()))?;
    let pair = [host::device(3)?, host::device(4)?];
    for bdf in &pair {
        same("devices of one group", &row(bdf)?["together"], &Value::from(pair.to_vec()))?;
    }
    let serial = row(OWN_SERIAL)?;
    let reason = serial["reasons"].to_string();
    ensure!(serial["verdict"] == "no" && reason.contains("is open in process"), "{serial}");
    ensure!(row(ISA_BRIDGE).is_err(), "a bridge is shown");
    Ok(format!("{} devices", rows.len()).into())
}

pub(super) fn bind_and_unbind() -> Result<CaseReport> {
    let device = host::device(2)?;
    let result = there_and_back(&device);
    host::bind(&device, Some("vfio-pci"))?;
    result
}

fn there_and_back(device: &str) -> Result<CaseReport> {
    // Bound by the lab: what it had before is not known, so the kernel chooses.
    pvir(&["unbind", device])?.with_status(NOT_DONE)?;
    same("driver after a plan", &host::driver(device).as_deref(), &Some("vfio-pci"))?;
    host::load("igb")?;
    pvir(&["unbind", "--yes", device])?.with_status(DONE)?;
    same("driver", &host::driver(device).as_deref(), &Some("igb"))?;

    let interface =
        fs::read_dir(host::folder(device).join("net"))?.next().context("igb has no interface")??;
    let interface = interface.file_name().to_string_lossy().into_owned();
    host::set_up(&interface, true)?;
    let said = pvir(&["bind", "--yes", device])?.with_status(REFUSED)?;
    ensure!(said.stderr.contains(&format!("{interface}, which is up")), "{}", said.stderr);
    host::set_up(&interface, false)?;

    let plan = pvir(&["bind", device])?.with_status(NOT_DONE)?.stdout;
    for file in ["driver_override", "driver/unbind", "drivers_probe", "former-drivers"] {
        ensure!(plan.contains(file), "{file} is not in the plan: {plan}");
    }
    same("driver after a plan", &host::driver(device).as_deref(), &Some("igb"))?;
    pvir(&["bind", "--yes", device])?.with_status(DONE)?;
    same("driver", &host::driver(device).as_deref(), &Some("vfio-pci"))?;
    let ended = Vm::start(&["--device", &format!("vfio={device}")], "direct interrupts=100")?.run_out()?;
    ended.passed()?;
    pvir(&["unbind", "--yes", device])?.with_status(DONE)?;
    same("driver", &host::driver(device).as_deref(), &Some("igb"))?;
    let left = fs::read_to_string(host::folder(device).join("driver_override"))?;
    same("driver_override", &left.trim(), &"(null)")?;
    Ok(format!("{device}: igb, vfio-pci and a guest, igb").into())
}

pub(super) fn bind_refused() -> Result<CaseReport> {
    for (device, word) in
        [(ISA_BRIDGE, "is a bridge"), (OWN_SERIAL, "is open in process"), ("0000:44:00.0", "no such")]
    {
        let driver = host::driver(device);
        let said = pvir(&["bind", "--yes", device])?.with_status(REFUSED)?;
        ensure!(said.stderr.contains(device) && said.stderr.contains(word), "not {word:?}: {}", said.stderr);
        same("driver", &host::driver(device), &driver)?;
    }
    Ok("a bridge, the lab's own channel, and nothing at all".to_owned().into())
}

pub(super) fn unbind_refused() -> Result<CaseReport> {
    let device = host::device(0)?;
    let mut vm = Vm::start(&["--device", &format!("vfio={device}")], "direct interrupts=100 checkpoints")?;
    vm.until("enabled")?;
    let said = pvir(&["unbind", "--yes", &device])?.with_status(REFUSED)?;
    ensure!(said.stderr.contains("/dev/vfio/") && said.stderr.contains("(pvir)"), "{}", said.stderr);
    let lines = pvir(&["doctor", "--json", &device])?.lines()?;
    expect(&lines, "device", "skip", &[&device, "another program has it"])?;
    vm.run_out()?.passed()?;
    same("driver", &host::driver(&device).as_deref(), &Some("vfio-pci"))?;
    Ok(said.stderr.trim_end().to_owned().into())
}
