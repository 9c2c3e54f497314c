//! `pvir doctor` on the machine itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::own_kvm::SILENCE;
use crate::build::Programs;
use crate::process::patient_output;
use crate::runner::{Step, Verdict, skip};

const KVM: &str = "/dev/kvm";

pub(super) const CASE: Step =
    Step { name: "kvm/doctor", about: "its self-test VM runs, and every line has its parts", run };

fn run() -> Result<Verdict> {
    if !Path::new(KVM).exists() {
        return skip(KVM);
    }
    let programs = Programs::build()?;
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let output = patient_output(Command::new(pvir).args(["doctor", "--json"]), SILENCE)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 4: emulated devices only, as on a machine without an IOMMU.
    ensure!(
        matches!(output.status.code(), Some(0 | 4)),
        "{}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().with_context(|| text.clone())?;
    for line in &lines {
        let level = line["level"].as_str().unwrap_or_default();
        ensure!(["ok", "warn", "fail", "skip"].contains(&level), "{line} has no level");
        ensure!(level == "ok" || line["help"].is_string(), "{line} does not say what mends it");
    }
    let self_test = lines.iter().find(|line| line["check"] == "self-test").context("no self-test")?;
    ensure!(self_test["level"] == "ok", "{self_test}");
    Ok(Verdict::Passed(format!("{} lines; {}", lines.len(), self_test["what"].as_str().unwrap_or_default())))
}
