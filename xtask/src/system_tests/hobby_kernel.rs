//! The kernel of `docs/your-kernel.md`: it is built, boots, and has its interrupts.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::own_kvm::{SILENCE, usable};
use crate::build::kernel;
use crate::process::patient_output;
use crate::runner::{Step, Verdict};

pub(super) const CASE: Step = Step {
    name: "kvm/hobby-kernel",
    about: "the smallest kernel takes an interrupt, and moves it in its handler",
    run,
};

/// What the kernel prints when all has gone well.
const LINES: [&str; 2] = ["hobby kernel", "two interrupts, the second one moved by the handler of the first"];

fn run() -> Result<Verdict> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(Verdict::Skipped(missing)),
    };
    let hobby_kernel = kernel::build_hobby_kernel()?;
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = Command::new(pvir);
    command.args(["run", "--device", "emulated"]).arg(hobby_kernel);
    let output = patient_output(&mut command, SILENCE)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {text}{errors}", output.status);
    ensure!(text.lines().eq(LINES), "it says: {text}{errors}");
    Ok(Verdict::Passed("two interrupts, the second one by a call of the handler".to_owned()))
}
