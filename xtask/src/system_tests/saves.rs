//! A machine that is saved and restored again and again, each time in a new process, on this machine's own KVM.
//!
//! The guest is the test kernel's word `saves`: a device raises interrupts with numbers at a rate of its own; the guest asks
//! to be saved, and when it goes on it finds that its pairs are stale, maps them again, and sees that no number was lost
//! and no interrupt came twice. The suite makes a few rounds, `cargo xtask saves` as many as are wished.

mod damaged;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::driver::drive_here;
use super::own_kvm::{SILENCE, skipped, usable};
use crate::build::Programs;
use crate::process::patient_output;
use crate::runner::{Batch, Finding, Verdict};

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[
        (
            "kvm/saves",
            "saved and restored in a new process under traffic, 6 times: no interrupt is lost, none comes twice",
        ),
        (
            "kvm/saves-attach",
            "the same with one device attached and another one trapped: each goes on as it was",
        ),
        (
            "kvm/saves-damaged",
            "a byte of the file is changed at random, 40 times: refused, or restored as it was; pvir never crashes",
        ),
        (
            "kvm/saves-started-again",
            "a guest that was restored resets its machine, and is started again in the same process",
        ),
    ],
    run: |names| names.iter().map(|name| finding(name)).collect(),
};

/// Rounds in the suite.
const A_FEW: u64 = 6;
const CHANGES: u64 = 40;
const MACHINE: [&str; 4] = ["--cpus", "2", "--memory", "32M"];
const DEVICE: [&str; 2] = ["--device", "emulated,vectors=10"];
/// What the guest prints when it wants to be saved.
const WANTED: &str = "@pvir-save-wanted";

/// Saves and restores a machine under traffic, and counts what was lost (some two minutes)
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds
    #[arg(default_value_t = 500)]
    rounds: u64,
    /// In place of that, change a byte of a file so often (10000 take some ten minutes): it is refused, or restored as it was
    #[arg(long, value_name = "TIMES")]
    damaged: Option<u64>,
}

/// Runs it, and says what came of it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let programs = Programs::build()?;
    let said = match options.damaged {
        Some(times) => damaged::run(&programs, times)?,
        None => rounds(&programs, options.rounds, Devices::One)?,
    };
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

fn finding(name: &str) -> Result<Finding> {
    let started = Instant::now();
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(skipped(name, &missing)),
    };
    let result = match name {
        "kvm/saves-started-again" => {
            return Ok(drive_here(&programs, "saves-started-again", name, &[])?.finding);
        }
        "kvm/saves-damaged" => damaged::run(&programs, CHANGES),
        "kvm/saves-attach" => rounds(&programs, A_FEW, Devices::OneAttached),
        _ => rounds(&programs, A_FEW, Devices::One),
    };
    let result = result.map(Verdict::Passed);
    Ok(Finding { name: name.to_owned(), result, took: started.elapsed() })
}

/// What the guest has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Devices {
    One,
    /// One that it attaches, and one that it does not.
    OneAttached,
}

fn rounds(programs: &Programs, rounds: u64, devices: Devices) -> Result<String> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let file = |number: u64| folder.path().join(format!("{number}.pvir"));
    let socket = folder.path().join("control");
    let mut slowest = Duration::ZERO;
    for round in 0..=rounds {
        let mut command = Command::new(pvir);
        command.arg("run").args(MACHINE).args(DEVICE).arg("--control").arg(&socket);
        if devices == Devices::OneAttached {
            command.args(DEVICE);
        }
        command.args(["--timeout", &patience::stretched(SILENCE).as_secs().to_string()]);
        match round.checked_sub(1) {
            None => {
                let by = if devices == Devices::OneAttached { "by=attach" } else { "" };
                let words = format!("saves rounds={rounds} {by}");
                command.args(["--append", &words]).arg(&programs.kernel)
            }
            Some(before) => command.arg("--restore").arg(file(before)),
        };
        let mut machine = Machine::start(&mut command)?;
        let wanted = machine.reads_until_wanted().with_context(|| format!("in round {round}"))?;
        ensure!(wanted == (round < rounds), "the guest has ended in round {round}: {}", machine.text);
        if !wanted {
            machine.ends()?;
            return verdict(&machine.text, rounds, slowest);
        }
        let begun = Instant::now();
        save(pvir, &file(round), &socket)?;
        slowest = slowest.max(begun.elapsed());
        machine.ends()?;
        if let Some(before) = round.checked_sub(1) {
            fs::remove_file(file(before)).context("cannot remove a file that has served")?;
        }
    }
    bail!("the guest did not end")
}

fn save(pvir: &Path, file: &Path, socket: &Path) -> Result<()> {
    let output = patient_output(Command::new(pvir).arg("save").arg(file).arg(socket), SILENCE)?;
    ensure!(output.status.success(), "pvir save: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn verdict(text: &str, rounds: u64, slowest: Duration) -> Result<String> {
    ensure!(text.contains("\"verdict\":\"pass\""), "the guest did not pass: {text}");
    let events =
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("@pvir ")?).ok());
    let figures = events.into_iter().find(|event| event["event"] == "saves").context("no figures")?;
    let number = |name: &str| figures[name].as_u64().with_context(|| format!("no {name} in {figures}"));
    Ok(format!(
        "{rounds} times saved and restored: {} raised, {} came and {} more in software, {} held and delivered once, none \
         lost, {} twice; the slowest save {} ms",
        number("raised")?,
        number("handled")?,
        number("in_software")?,
        number("held")?,
        number("twice")?,
        slowest.as_millis()
    ))
}

/// A `pvir run`, and what it has said. It is killed when dropped.
struct Machine {
    child: Child,
    text: String,
}

impl Machine {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().context("cannot start pvir")?;
        Ok(Self { child, text: String::new() })
    }

    /// Reads what the guest says until it wants to be saved; whether it does.
    fn reads_until_wanted(&mut self) -> Result<bool> {
        let stdout = self.child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        while lines.read_line(&mut line).context("what the guest says cannot be read")? > 0 {
            if line.trim_end() == WANTED {
                // The pipe stays open: nothing is written into it any more, or fits.
                self.child.stdout = Some(lines.into_inner());
                return Ok(true);
            }
            self.text.push_str(&line);
            line.clear();
        }
        Ok(false)
    }

    fn ends(&mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for pvir")?;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).context("cannot read what pvir says")?;
        }
        ensure!(status.success(), "pvir run ended with {status}: {said} {}", self.text);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended, where all is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
