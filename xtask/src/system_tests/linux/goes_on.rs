//! A Linux guest with the module goes on where its session ends or its pairs die: events, sleep, the core test of
//! hibernation, two saves of the VM, and a crash, whose kernel finds the VM enabled. No interrupt of the emulated device is
//! lost, by its numbers, and its card works after each.

use anyhow::{Context, Result, ensure};

use super::{COMMAND_LINE, Console, pvir};
use crate::lab::{Iommu, Options};
use crate::runner::{Verdict, skip};
use crate::system_tests::command::in_lab;

/// Runs in L1.
const SCRIPT: &str = include_str!("goes-on.sh");
/// What is said of the emulated device's interrupts at each stop, and how often at most each may have been raised in
/// software until then, by the module after it was mapped again (S5), or by Linux.
const STOPS: [(&str, u64); 7] = [
    ("resent", 1),
    ("events", 3),
    ("slept", 4),
    ("hibernation", 5),
    ("saved", 6),
    ("saved-again", 8),
    ("crashed", 1),
];
const VECTORS: u64 = 8;
/// SLUB looks for what is written behind an object or after it was freed (Documentation/mm/slub.rst of Linux).
const CHECKED: &str = "slub_debug=FZP,kmalloc-*";
/// Where the card has traffic.
const CARD: [&str; 6] = ["first", "slept", "hibernation", "saved", "saved-again", "crashed"];
/// Runs of `pvir` from one save to the next.
const RUNS: usize = 3;

pub(super) fn run() -> Result<Verdict> {
    let built = match pvir::built()? {
        Ok(built) => built,
        Err(missing) => return skip(missing),
    };
    let options = Options {
        iommu: Iommu::Intel,
        cpus: 1,
        linux_guest: true,
        guest_modules: built.all()?,
        append: "kvm_amd.npt=0".into(),
        devices: vec!["igb,netdev=net".into()],
        qemu: vec!["-netdev".into(), "user,id=net,restrict=on".into()],
        ..Options::default()
    };
    let words = format!("{COMMAND_LINE} {CHECKED} pvir.run=goes-on crashkernel=160M");
    let argv = ["sh", "-c", SCRIPT, "sh", &words, "--cpus", "2", "--memory", "512M", "--json", "-"];
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
    ensure!(console.said("failed ").is_none(), "the guest failed");
    console.said("crash kernel runs").context("no kernel ran behind the crash")?;
    console.said("done").context("the guest's script did not come to its end")?;
    let mut raised = 0;
    for (stop, in_software) in STOPS {
        let start = format!("device {stop} ");
        let line = console.said(&start).with_context(|| format!("no stop {stop}"))?;
        let number = |name: &str| -> Result<u64> {
            let mut words = line.split(' ').filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            Ok(words.next().with_context(|| format!("no {name} in {line}"))?.parse()?)
        };
        ensure!(number("pending")? == 0 && number("vectors")? == VECTORS, "{stop}: {line}");
        ensure!(number("idle")? <= in_software * VECTORS, "{stop}: some came twice: {line}");
        raised = raised.max(number("raised")?);
    }
    let line = console.said("device msi ").context("nothing was said of MSI")?;
    ensure!(line.starts_with("all vectors=1 ") && line.contains(" pending=0 "), "MSI: {line}");
    for stop in CARD {
        console
            .said(&format!("card works {stop}"))
            .with_context(|| format!("no traffic of the card: {stop}"))?;
    }
    let kernel: Vec<&str> = console.0.lines().filter_map(|line| line.strip_prefix("@kernel ")).collect();
    let words = ["WARNING", "BUG", "Oops", "imeout", "timed out", "lockup", "stall"];
    let warned = kernel.iter().find(|line| words.iter().any(|word| line.contains(word)));
    ensure!(warned.is_none(), "the guest's kernel: {}", warned.unwrap_or(&""));
    let ended = kernel.iter().filter(|line| line.contains("another kernel's session is ended")).count();
    ensure!(ended == 1, "{ended} kernels have found the VM enabled");
    let runs = console.0.lines().filter(|line| line.starts_with("@pvir-host ")).count();
    ensure!(runs == RUNS, "{runs} reports of {RUNS} runs of pvir");
    Ok(format!(
        "none of {raised} interrupts lost in events, sleep, hibernation's test and {} saves; a crash kernel goes on",
        RUNS - 1
    ))
}
