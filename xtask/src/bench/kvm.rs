//! The machine's own KVM and the emulated device: direct beside trapped, at every size.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figures::Figures;
use super::plan::Plan;
use super::run_figures::RunFigures;
use super::what::{Subject, Testbed, Way};
use crate::build::Programs;
use crate::process::patient_output;
use crate::progress::step;

const KVM: &str = "/dev/kvm";
/// How long a run may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
const WAYS: [Way; 2] = [Way::Direct, Way::Trapped];

/// Measures; answers with what was skipped and why.
pub(super) fn measure(programs: &Programs, plan: &Plan, figures: &mut Figures) -> Result<Option<String>> {
    if !Path::new(KVM).exists() {
        return Ok(Some(format!("the emulated device on this machine: there is no {KVM}")));
    }
    let what = format!("{} sizes, {} times, direct and trapped in turn", plan.sizes.len(), plan.repeats);
    step("the machine's own KVM", what, || {
        let mut ways = WAYS;
        let done = plan.repeat(|| {
            for &vectors in plan.sizes {
                for way in ways {
                    let run = one(programs, plan, vectors, way)
                        .with_context(|| format!("{vectors} vectors, {}", way.name()))?;
                    figures.add(&Subject { place: Testbed::Kvm, device: "emulated", vectors }, way, &run);
                }
            }
            // the next time the other one goes first
            ways.rotate_left(1);
            anyhow::Ok(())
        })?;
        if done < plan.repeats {
            eprintln!("time allowed {done} of {} repetitions", plan.repeats);
        }
        Ok(())
    })?;
    Ok(None)
}

fn one(programs: &Programs, plan: &Plan, vectors: u32, way: Way) -> Result<RunFigures> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    // Where ring 0 is interpreted (kvm_pvm), the driver's own instructions would hide everything else: each way runs in
    // the ring in which it is faster, which is ring 0 for accesses that are trapped.
    let words = format!("{} ring={}", plan.words(Testbed::Kvm), if way == Way::Direct { 3 } else { 0 });
    let vmm_mode = if way == Way::Direct { "auto" } else { "trap" };
    let device = format!("emulated,vectors={vectors},ims=0");
    let mut command = Command::new(pvir);
    command.args(["run", "--cpus", "2", "--json", "-", "--mode", vmm_mode]);
    // What is measured is what a step takes, not what a limit makes of it.
    command.args(["--rate-limit", "off"]);
    command.args(["--no-history", "--device", &device, "--append", &words]).arg(&programs.kernel);
    let output = patient_output(&mut command, SILENCE)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let run = RunFigures::read(&text, way.mode())
        .with_context(|| format!("pvir said: {}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(run.rounds.iter().all(|round| round.vectors == vectors), "not {vectors} vectors");
    Ok(run)
}
