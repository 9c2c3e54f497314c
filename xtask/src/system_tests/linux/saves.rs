//! A stock Linux is saved while both of its CPUs compute, and goes on in a new process: it does not notice, but for its card,
//! which it finds reset.

use anyhow::{Context, Result, ensure};

use super::{COMMAND_LINE, Console};
use crate::lab::{Iommu, Options};
use crate::runner::Verdict;
use crate::system_tests::command::in_lab;
use crate::system_tests::product::ONE_CPU;

const SCRIPT: &str = include_str!("saves.sh");
const ROUNDS: usize = 2;
/// What `pvir save` says of a guest that does not know pvir.
const UNTOLD: &str = "its guest cannot be told that it will be found reset";

pub(super) fn run() -> Result<Verdict> {
    let options = Options {
        iommu: Iommu::Intel,
        cpus: ONE_CPU,
        linux_guest: true,
        devices: vec!["igb,netdev=net".into()],
        qemu: vec!["-netdev".into(), "user,id=net,restrict=on".into()],
        ..Options::default()
    };
    let words = format!("{COMMAND_LINE} pvir.run=saves pvir.rounds={ROUNDS}");
    let argv = ["sh", "-c", SCRIPT, "sh", &words, "--cpus", "2", "--memory", "256M", "--json", "-"];
    let output = in_lab(&options, &argv, b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    let console = Console::of(&output);
    let said = || format!("the console:\n{}\npvir:\n{}", console.0, String::from_utf8_lossy(&output.stderr));
    output.expect_status(0).with_context(said)?;
    check(&console).with_context(said).map(Verdict::Passed)
}

fn check(console: &Console) -> Result<String> {
    let host = |start: &str| {
        let lines = console.0.lines().filter_map(|line| line.strip_prefix("@host "));
        lines.filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = host("refused ");
    ensure!(refused.len() == ROUNDS && refused.iter().all(|said| said.contains(UNTOLD)), "{refused:?}");
    ensure!(host("saved in ").len() == ROUNDS && host("ended with ").is_empty(), "it was not saved");
    for (round, said) in (1..).zip(console.all("uptime ")) {
        let words: Vec<&str> = said.split(' ').collect();
        let [before, after, "heard", "round", number] = words[..] else {
            ensure!(false, "{said}");
            continue;
        };
        ensure!(number == round.to_string(), "it heard {said}");
        let (before, after): (f64, f64) = (before.parse()?, after.parse()?);
        ensure!(after >= before, "its clock went back: {said}");
    }
    let slept = console.all("slept ").map(|said| {
        let (from, to) = said.split_once(' ').context("no times")?;
        Ok(to.parse::<f64>()? - from.parse::<f64>()?)
    });
    for slept in slept.collect::<Result<Vec<_>>>()? {
        ensure!(slept >= 0.99, "a second was {slept} s");
    }
    ensure!(console.all("works after round ").count() == ROUNDS, "it does not work any more");
    ensure!(console.said("failed ").is_none() && console.said("kernel ").is_none(), "something failed");
    let clock = console.said("done clocksource=").context("its script did not come to its end")?;
    let sizes: Vec<u64> =
        host("KiB ").iter().filter_map(|said| said.split('\t').next()?.parse().ok()).collect();
    Ok(format!(
        "{ROUNDS} times saved and restored, its card found reset and set up again; {} MiB of 256 in the file; clock {clock}",
        sizes.iter().max().unwrap_or(&0) / 1024
    ))
}
