//! The model of the contract: every state of what the gate can take, and far more.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Campaign;
use super::report::Report;
use crate::build::workspace::{cargo, run_build, target_dir};
use crate::process;
use crate::runner::{Step, Verdict};

pub(super) const CAMPAIGN: Campaign = Campaign {
    name: "model",
    about: "the model of the contract (docs/model.md), each scope with more choices than in the gate",
    run,
};

pub(super) const GATES: [Step; 2] = [
    Step {
        name: "model/gate",
        about: "the model of the contract: every property holds in each of its states, a million and more",
        run: gate,
    },
    Step {
        name: "model/flaws",
        about: "each error that was seeded into the model's design is found, by the property it breaks",
        run: flaws,
    },
];

fn gate() -> Result<Verdict> {
    last_line(&["gate"])
}

fn flaws() -> Result<Verdict> {
    last_line(&["flaws"])
}

fn last_line(arguments: &[&str]) -> Result<Verdict> {
    let text = output(arguments)?;
    Ok(Verdict::Passed(text.lines().last().unwrap_or_default().to_owned()))
}

/// What the program has printed. Where it fails, that tells the way to the state in which a property does not hold.
fn output(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program()?);
    let output = command.args(arguments).stdin(Stdio::null()).output().context("cannot start pvir-model")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("pvir-model {}: {}{said}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

fn program() -> Result<PathBuf> {
    run_build(cargo().args(["build", "--quiet", "--package", "pvir-model"]), "pvir-model")?;
    Ok(target_dir("debug").join("pvir-model"))
}

/// Each scope gets its part of the time that is left; what one does not need, the others have.
fn run(report: &mut Report, time: Duration) -> Result<()> {
    let ends = Instant::now() + time;
    let names = process::output(Command::new(program()?).arg("scopes"))?;
    let names: Vec<&str> = names.lines().collect();
    report.head = ["scope", "distinct states", "of it", "depth", "s"].map(str::to_owned).into();
    let mut total = 0;
    for (place, name) in names.iter().enumerate() {
        if report.has_done(name) {
            continue;
        }
        let left = ends.saturating_duration_since(Instant::now());
        let share = left.as_secs() / u64::try_from(names.len() - place)?;
        let text = output(&["campaign", name, "--seconds", &share.max(1).to_string()])?;
        let row = text.lines().find(|line| line.starts_with('|')).context("pvir-model printed no row")?;
        let is_all = row.contains("| all ");
        report.add(name, row, is_all)?;
        total += row.split('|').nth(2).and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    report.note(format!("{total} distinct states in this run. Every property held in each."));
    Ok(())
}
