//! One VM's guest sends messages that it was not given, in bulk: none reaches itself, the VM beside it, or the host, and the
//! host's log of it stays short.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest::{faults, quiet_log};
use super::lives;
use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::{Ended, Vm};
use crate::witness::{ask, has_intel};

/// Messages of each class.
const TIMES: u64 = 200;
/// Those by DMA, of which each takes a tenth of a second.
const BY_DMA: u64 = 5;
/// The kernel logs ten faults in five seconds.
const LINES: u64 = 10;
const SECONDS: u64 = 5;
/// QEMU knows no requester of what `edu` writes by DMA to where messages go, and has 0xffff logged for it.
const OF_NOBODY: &str = "0000:ff:1f.7";
const CMDLINE: &str = "/proc/cmdline";
const NO_SOURCE_ID: &str = "intremap=nosid";

pub(super) fn run() -> Result<CaseReport> {
    let times = lives::rounds(TIMES)?;
    let known = quiet_log()?;
    let begun = Instant::now();
    let (ended, victim, grown) = attack(times, BY_DMA.max(times / 100))?;
    ended.passed()?;
    same("interrupts of the other VM's device meanwhile", &grown, &0)?;
    // Its guest has counted every interrupt: one that it did not raise would show.
    victim.run_out()?.passed()?;
    let classes = ended.of_kind("isolation");
    for class in &classes {
        same(text(class, "class"), &number(class, "/delivered"), &0)?;
    }
    let logged = faults()?.split_off(known);
    let own = [host::device(0)?, host::device(1)?, OF_NOBODY.to_owned()];
    for fault in &logged {
        let device = format!("0000:{}", text(fault, "device"));
        ensure!(own.contains(&device), "a fault of another device: {}", text(fault, "text"));
    }
    let bound = LINES * (begun.elapsed().as_secs() / SECONDS + 2);
    ensure!((logged.len() as u64) <= bound, "{} lines in the host's log, not {bound}", logged.len());
    ensure!(!has_intel() || !logged.is_empty(), "the kernel's log shows no attack");
    let said: Vec<String> =
        classes.iter().map(|class| format!("{} {}", class["attempts"], text(class, "class"))).collect();
    Ok(CaseReport {
        note: format!("{}: none delivered; {} lines in the host's log", said.join(", "), logged.len()),
        data: classes.into(),
    })
}

/// The control: where the host checks no source ids the same attack arrives, so the test above can fail. `pvir` refuses such a
/// host, and does not see it here, because the kernel's command line is hidden from it.
pub(super) fn bites() -> Result<CaseReport> {
    let line = fs::read_to_string(CMDLINE)?;
    ensure!(line.contains(NO_SOURCE_ID), "source ids are checked here: {line}");
    let hidden = Path::new("/tmp/cmdline");
    fs::write(hidden, line.replace(NO_SOURCE_ID, ""))?;
    mount(&["--bind", "/tmp/cmdline", CMDLINE])?;
    let attacked = attack(10, 0);
    let status = Command::new("umount").arg(CMDLINE).status().context("cannot start umount")?;
    ensure!(status.success(), "umount {CMDLINE}: {status}");
    let (_, victim, grown) = attacked?;
    drop(victim);
    ensure!(grown > 0, "no message arrived, though nobody checks who sends it");
    Ok(format!("{grown} interrupts of another VM's device arrived: the attack works where nothing stops it")
        .into())
}

fn mount(arguments: &[&str]) -> Result<()> {
    let status = Command::new("mount").args(arguments).status().context("cannot start mount")?;
    ensure!(status.success(), "mount {arguments:?}: {status}");
    Ok(())
}

/// The attacker's end, the VM beside it, and by how much the counts of that VM's device have grown meanwhile.
fn attack(times: u64, by_dma: u64) -> Result<(Ended, Vm, u64)> {
    let (attacker, victim) = (host::device(0)?, host::device(2)?);
    let mut other = Vm::start(&["--device", &format!("vfio={victim}")], "direct interrupts=100 checkpoints")?;
    other.until("enabled")?;
    other.resume()?;
    other.until("mapped")?;
    let entry = other.events("entry").into_iter().next().context("no entry was mapped")?;
    let mut words = format!(
        "isolation times={times} dma={by_dma} foreign-address={} foreign-data={}",
        text(&entry, "address"),
        entry["data"]
    );
    if let Some(address) = of_the_host()? {
        words.push_str(&format!(" host-address={address:#x} host-data=0"));
    }
    // With a device that writes by DMA, and one with MSI-X if the lab has a third.
    let more = if host::devices() == 4 { vec![1, 3] } else { vec![1] };
    let mut arguments = vec!["--device".to_owned(), format!("vfio={attacker}")];
    for position in more {
        arguments.extend(["--device".to_owned(), format!("vfio={}", host::device(position)?)]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let before = count(&victim)?;
    let ended = Vm::start(&arguments, &words)?.finish()?;
    Ok((ended, other, count(&victim)? - before))
}

fn count(device: &str) -> Result<u64> {
    Ok(ask(&["irqs", device])?.iter().map(|irq| number(irq, "/count")).sum())
}

/// The address of a message that a device of the host sends, which is in no VM; none where the table cannot be read.
fn of_the_host() -> Result<Option<u64>> {
    if !has_intel() {
        return Ok(None);
    }
    let given = (0..host::devices()).map(host::device).collect::<Result<Vec<_>>>()?;
    let is_host = |entry: &&Value| {
        let source = format!("0000:{}", text(entry, "sid"));
        entry["present"] == true && !given.contains(&source)
    };
    let table = ask(&["irt"])?;
    let index = table.iter().find(is_host).and_then(|entry| entry["index"].as_u64());
    Ok(index.map(|index| 0xfee0_0010 | (index & 0x7fff) << 5 | (index >> 15 & 1) << 2))
}
