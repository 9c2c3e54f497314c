//! A disk with more MSI-X entries than the host has vectors, of which there are two left, and with a BAR of 64 GiB. Its
//! driver asks for three interrupts, and cannot be told that it gets two: the disk works, by those and by the driver's own
//! timeout, and the host says which entry is silent. The BAR is read and written at its start, in its middle and at its end.

use anyhow::{Context, Result, ensure};

use super::counts::{Counts, InterruptCounts};
use super::{COMMAND_LINE, Console, SCRIPT};
use crate::lab::{Iommu, Options};
use crate::runner::Verdict;
use crate::system_tests::command::in_lab;

/// Runs in L1 before the script that all share.
const CROWDED: &str = include_str!("crowded.sh");
/// What holds the vectors.
const HOG: &str = "nvme,serial=hog,msix_qsize=2048";
const DISK: &str = "nvme,serial=pvir,msix_qsize=2048,drive=disk,pmrdev=memory";
/// Neither takes memory of this machine but for what is written.
const QEMU: [&str; 4] = [
    "-object",
    "memory-backend-ram,id=memory,size=64G,reserve=off",
    "-drive",
    "if=none,id=disk,driver=null-co,size=64M,read-zeroes=on",
];
const BAR_SIZE: &str = "68719476736";
/// Of its driver: one for the administration, and one for each CPU of the guest.
const QUEUES: usize = 3;
/// Entries that get a vector; the last one does not.
const SERVED: usize = 2;
/// What the guest writes to the BAR.
const WORDS: &str = "0x11111111 0x22222222 0x33333333";

pub(super) fn run() -> Result<Verdict> {
    let options = Options {
        iommu: Iommu::Intel,
        cpus: 1,
        linux_guest: true,
        // as for all cases with two VMs (docs/lab-notes.md)
        append: "kvm_amd.npt=0".into(),
        devices: vec![DISK.into(), HOG.into()],
        qemu: QEMU.map(Into::into).to_vec(),
        ..Options::default()
    };
    let command_line = format!("{COMMAND_LINE} pvir.run=nvme");
    let pvir = ["--cpus", "2", "--memory", "512M", "--json", "-", "--append", &command_line];
    let script = format!("{CROWDED}{SCRIPT}");
    let argv: Vec<&str> = ["sh", "-c", &script, "sh", ""].into_iter().chain(pvir).collect();
    let output = in_lab(&options, &argv, b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    console.report("guest-power-off")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let silent = said.lines().find(|line| line.contains("starting the interrupt of trapped message 2 of"));
    let told = ["(vfio 0000:", "No space left on device (os error 28)", "no interrupt vector left"];
    ensure!(
        silent.is_some_and(|line| told.iter().all(|part| line.contains(part))),
        "pvir did not say which entry has no vector: {said}"
    );
    check(&console).with_context(|| format!("the console:\n{}", console.0)).map(Verdict::Passed)
}

fn check(console: &Console) -> Result<String> {
    let queues = console.said("queues ").context("the disk's driver does not run")?;
    ensure!(queues == QUEUES.to_string(), "{queues} queues in place of {QUEUES}");
    let counts = InterruptCounts::find(&console.0, "@counts after ")?;
    let of_queues: Vec<_> = counts.lines.iter().filter(|line| line.entry.is_some()).collect();
    ensure!(of_queues.len() == QUEUES, "{} interrupts in place of {QUEUES}", of_queues.len());
    for line in &of_queues {
        let served = line.entry.is_some_and(|entry| (entry as usize) < SERVED);
        ensure!((line.total() > 0) == served, "{} has had {} interrupts", line.name, line.total());
    }
    let total: u64 = of_queues.iter().map(|line| Counts::total(line)).sum();

    let bar = console.said("bar4 ").context("the guest sees no BAR4")?;
    let (first, size) = bar.split_once(' ').context("no size of BAR4")?;
    ensure!(size == BAR_SIZE, "BAR4 has {size} bytes in place of {BAR_SIZE}");
    let words = console.said("words ").context("BAR4 was not read")?;
    ensure!(words.eq_ignore_ascii_case(WORDS), "BAR4 has {words} in place of {WORDS}");
    console.said("done").context("the guest's script did not come to its end")?;
    Ok(format!(
        "{total} interrupts of {SERVED} of {QUEUES} entries, the third told as silent; 64 GiB at {first}, of which the ends and the middle answer"
    ))
}
