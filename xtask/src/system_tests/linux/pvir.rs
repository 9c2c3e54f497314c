//! A stock Linux with the module of `guest/linux`: its own drivers, unmodified, program their MSI-X tables without an exit.

use anyhow::{Context, Result, ensure};

use crate::lab::Iommu;
use crate::lab::setup::Setup;
use crate::linux_module::life::{Bench, Life, Record, SCRIPT, Step};
use crate::linux_module::{Built, Missing, build};
use crate::runner::{Verdict, skip};
use crate::system_tests::command::{Output, in_lab};

/// What each run of the tests does.
fn short() -> Life {
    Life {
        drivers: vec!["igb", "e1000e", "nvme", "emulated"],
        module: true,
        moves: 40,
        masks: 100,
        offline: 1,
        rebinds: 2,
        reloads: 2,
    }
}

pub(super) fn intel() -> Result<Verdict> {
    case(Iommu::Intel)
}

pub(super) fn amd() -> Result<Verdict> {
    case(Iommu::Amd)
}

/// The module and those of the tests, or what this machine lacks to build them.
pub(super) fn built() -> Result<Result<Built, String>> {
    let headers = match Setup::ready()?.headers() {
        Ok(headers) => headers,
        Err(error) => return Ok(Err(format!("headers of the lab's kernel ({error:#})"))),
    };
    Ok(build(&headers)?.map_err(|Missing(what)| what))
}

fn case(iommu: Iommu) -> Result<Verdict> {
    let built = match built()? {
        Ok(built) => built,
        Err(missing) => return skip(missing),
    };
    match lives(iommu, &built, &short())? {
        Some(record) => Ok(Verdict::Passed(note(&record))),
        None => Ok(Verdict::Interrupted),
    }
}

/// Takes all drivers through their lives, and judges each step. None if the user interrupted it.
pub(super) fn lives(iommu: Iommu, built: &Built, life: &Life) -> Result<Option<Record>> {
    let bench = Bench::new(iommu, built.all()?)?;
    let output = in_lab(&bench.options, &["sh", "-c", SCRIPT, "sh", "pvir", &Bench::pvir(life, "")], b"")?;
    if output.status.is_none() {
        return Ok(None);
    }
    output.expect_status(0)?;
    let record = Record::read(&String::from_utf8_lossy(&output.stdout))?;
    record.is_whole().with_context(|| stderr(&output))?;
    check(&record, life).with_context(|| record.end())?;
    Ok(Some(record))
}

fn stderr(output: &Output) -> String {
    format!("pvir said: {}", String::from_utf8_lossy(&output.stderr))
}

fn check(record: &Record, life: &Life) -> Result<()> {
    ensure!(record.said("pvir is loaded").next().is_some(), "the module was not loaded");
    ensure!(
        record.report["outcome"]["kind"] == "guest-power-off",
        "the run ended with {}",
        record.report["outcome"]
    );
    for driver in &life.drivers {
        let chips =
            record.said(&format!("chips {driver} ")).next().with_context(|| format!("no {driver}"))?;
        ensure!(chips.contains("PVIR-PCI-MSIX"), "{driver}: its interrupts are of {chips}");
        let vectors: u64 = chips.split_whitespace().next().context("no interrupt")?.parse()?;
        let step = |name: &str| record.step(&format!("{driver} {name}"));
        for name in
            ["load", "request", "traffic", "moves", "masks", "offline", "release", "rebinds", "unload"]
        {
            no_table_exits(step(name)?)?;
        }
        silent(step("traffic")?)?;
        silent(step("masks")?)?;
        let moved =
            record.said(&format!("moved {driver} ")).next().context("nothing was moved")?.trim().parse()?;
        at_most(step("load")?, vectors + LOAD)?;
        at_most(step("request")?, vectors + LOAD)?;
        at_most(step("moves")?, moved)?;
        // The entries are masked by then, and so need no parking: at most one UNMAP, where the driver gives its vectors back.
        at_most(step("release")?, 1)?;
        at_most(step("unload")?, vectors + LOAD)?;
        ensure!(*driver == "nvme" || step("moves")?.all_calls() > 0, "{driver}: no move was asked for");
    }
    if life.reloads > 0 {
        let chips = |when: &str| record.said(&format!("chips {when} ")).next().context("no driver");
        let (without, again) = (chips("without")?, chips("again")?);
        ensure!(!without.contains("PVIR"), "without the module its interrupts are of {without}");
        ensure!(again.contains("PVIR-PCI-MSIX"), "with the module again they are of {again}");
        // The first load again was with conduit=msr, the second one excluded the device.
        ensure!(record.kernel().any(|line| line.contains("conduit msr,")), "no load was by conduit=msr");
        let batch = record.said("batch ").next().context("no batch")?;
        ensure!(batch.trim() == "1", "batch=1 is {batch}");
        if life.reloads > 1 {
            let excluded = chips("excluded")?;
            ensure!(!excluded.contains("PVIR"), "of a device that is excluded they are of {excluded}");
        }
        nothing_is_left(record)?;
    }
    no_call_has_failed(record, !life.drivers.is_empty())?;
    let held = record.said("held ").next().context("the guest did not say what it holds")?;
    ensure!(held.trim() == "0", "the guest holds {held} entries without a driver");
    Ok(())
}

/// What the module has counted of its calls of an operation, in each load that is told of: calls, records, failures,
/// refusals for the rate, the longest time in all and with interrupts off.
fn counted(record: &Record, operation: &str) -> Result<Vec<[u64; 6]>> {
    let start = format!("calls {operation} ");
    let counts = record.said(&start).map(|line| {
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        let numbers = numbers.with_context(|| format!("{start}{line}"))?;
        <[u64; 6]>::try_from(numbers).map_err(|numbers| anyhow::anyhow!("{start}{numbers:?}"))
    });
    counts.collect()
}

/// None that is made under a raw lock: these are of one record, and a host never refuses them for the rate (O7).
fn no_call_has_failed(record: &Record, have_moved: bool) -> Result<()> {
    let retargets = counted(record, "RETARGET")?;
    let whole: u64 = retargets.iter().map(|[calls, ..]| calls).sum();
    ensure!(whole > 0 || !have_moved, "the module has counted no RETARGET: {retargets:?}");
    for [calls, records, failed, limited, ..] in &retargets {
        ensure!((failed, limited) == (&0, &0), "calls of RETARGET have failed: {retargets:?}");
        ensure!(calls == records, "a RETARGET had more than one record: {retargets:?}");
    }
    Ok(())
}

/// Calls of a driver's load and unload beside those for each vector: ATTACH, MAP, UNMAP, DETACH.
const LOAD: u64 = 4;

/// By pvir's count of accesses, and by KVM's tracepoint of them.
pub(super) fn no_table_exits(step: &Step) -> Result<()> {
    ensure!(
        step.trapped == 0 && step.table_exits == 0,
        "{}: {} accesses to tables were trapped by pvir's count, {} by the kernel's",
        step.name,
        step.trapped,
        step.table_exits
    );
    Ok(())
}

pub(super) fn silent(step: &Step) -> Result<()> {
    at_most(step, 0)?;
    ensure!(step.all_ioctls() == 0, "{} took {:?}", step.name, step.ioctls);
    Ok(())
}

fn at_most(step: &Step, calls: u64) -> Result<()> {
    ensure!(step.all_calls() <= calls, "{} took {:?}, at most {calls} were expected", step.name, step.calls);
    Ok(())
}

/// The stack of each thread of the kernel is a mapping too, and threads come and go. So only what is left behind by every
/// load is seen by mappings, where the module is loaded more often than this (`xtask linux`).
const MAPPINGS_OF_OTHERS: u64 = 8;

/// What the guest counts without the module does not grow with the number of times that it was loaded.
fn nothing_is_left(record: &Record) -> Result<()> {
    let field = |line: &str, name: &str| -> Result<u64> {
        let mut words = line.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Ok(words.next().with_context(|| format!("no {name} in {line}"))?.parse()?)
    };
    let lines: Vec<&str> = record.said("left unloaded ").collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        anyhow::bail!("nothing was counted")
    };
    for (name, others) in [("irqs", 0), ("mappings", MAPPINGS_OF_OTHERS)] {
        let (before, after) = (field(first, name)?, field(last, name)?);
        ensure!(
            after <= before + others,
            "{name}: {before} after the first unload, {after} after {}",
            lines.len()
        );
    }
    Ok(())
}

/// What the table of tests says.
fn note(record: &Record) -> String {
    let sum = |of: fn(&Step) -> u64| record.steps.iter().map(of).sum::<u64>();
    let moved: u64 =
        record.said("moved ").filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    let longest = counted(record, "RETARGET").unwrap_or_default().iter().map(|[.., longest]| *longest).max();
    format!(
        "{} steps of drivers, {moved} moves: {} calls, {} ioctls, no exit by a table while the module was loaded; \
         interrupts off for {} us at most in a RETARGET",
        record.steps.len(),
        sum(Step::all_calls),
        sum(Step::all_ioctls),
        longest.unwrap_or(0) / 1000,
    )
}

/// Runs `pvir` three times, each with the same guest: one that is killed, one that offers nothing, one that refuses.
const THREE: &str = include_str!("three.sh");

pub(super) fn without() -> Result<Verdict> {
    let built = match built()? {
        Ok(built) => built,
        Err(missing) => return skip(missing),
    };
    let life = Life { drivers: vec!["igb"], moves: 4, reloads: 0, rebinds: 1, ..short() };
    let bench = Bench::new(Iommu::Intel, built.all()?)?;
    // It would move its interrupts for hours, with traffic beside.
    let endless = Life { moves: u32::MAX, ..life.clone() };
    let commands = [Bench::pvir(&endless, ""), Bench::pvir(&life, "--mode trap"), Bench::pvir(&life, "")];
    let argv = ["sh", "-c", THREE, SCRIPT, &commands[0], &commands[1], &commands[2]];
    let output = in_lab(&bench.options, &argv, b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let run = |name: &str| {
        let run = text
            .split("@run ")
            .find(|run| run.starts_with(name))
            .with_context(|| format!("no run {name}"))?;
        Record::read(run).with_context(|| format!("the run {name}"))
    };
    let killed = run("killed")?;
    ensure!(killed.text.contains("@ended 137"), "it was not killed:\n{}", killed.end());
    killed.step("igb traffic")?;
    ensure!(killed.step("igb moves").is_err(), "it was not killed while it moved interrupts");
    ensure!(
        !killed.text.contains("@left-on-host"),
        "the host has interrupts of the VM left:\n{}",
        killed.end()
    );
    let mut said = Vec::new();
    for name in ["absent", "refused"] {
        let record = run(name)?;
        record.is_whole().with_context(|| format!("{name}; {}", stderr(&output)))?;
        ensure!(record.text.contains("@ended 0"), "{name}:\n{}", record.end());
        let chips = record.said("chips igb ").next().context("no igb")?;
        ensure!(!chips.contains("PVIR"), "{name}: its interrupts are of {chips}");
        let line = record.kernel().find(|line| line.contains("pvir:"));
        said.push(
            line.with_context(|| format!("{name}: the module did not say why:\n{}", record.end()))?
                .to_owned(),
        );
    }
    Ok(Verdict::Passed(format!("killed, and all is free again; {}", said.join("; "))))
}
