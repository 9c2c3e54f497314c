//! A stock Debian Linux is the guest of `pvir run`: nothing in it is ours but two shell scripts. It drives the network
//! card that is passed through with its own driver, by the trapped MSI-X table, for it knows nothing of pvir.

mod accesses;
mod counts;
mod goes_on;
pub(crate) mod long;
mod nvme;
mod plug;
pub(super) mod pvir;
mod saves;
mod trace;
mod virtio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::command::{Output, in_lab};
use super::product::ONE_CPU;
use crate::lab::{Iommu, Options};
use crate::runner::{Step, Verdict};
use counts::{Counts, InterruptCounts};

pub(super) const CASES: [Step; 15] = [
    Step {
        name: "intel/linux",
        about: "Debian's Linux as the guest: its igb's interrupts arrive on the CPU that smp_affinity says",
        run: || interrupts(Iommu::Intel, [0, 1]),
    },
    Step {
        name: "intel/linux-apic300",
        about: "the same with APIC ids 0 and 300",
        run: || interrupts(Iommu::Intel, [0, 300]),
    },
    Step {
        name: "amd/linux",
        about: "Debian's Linux as the guest: its igb's interrupts arrive on the CPU that smp_affinity says",
        run: || interrupts(Iommu::Amd, [0, 1]),
    },
    Step {
        name: "intel/linux-virtio",
        about: "a modern virtio card passed through: it works, trapped, and without an exit when the module takes it at work",
        run: virtio::run,
    },
    Step {
        name: "intel/linux-nvme",
        about: "a disk for which the host has two vectors left works, and pvir says so; all of its BAR of 64 GiB answers",
        run: nvme::run,
    },
    Step {
        name: "intel/linux-accesses",
        about: "its accesses to request, move and free an interrupt are, word for word, those of the test kernel",
        run: accesses::run,
    },
    Step {
        name: "intel/linux-plug",
        about: "a Linux guest's card is unplugged under its own driver, by word and by surprise, and plugged again",
        run: plug::run,
    },
    Step { name: "intel/linux-reboot", about: "reboot -f in a Linux guest ends the run", run: reboot },
    Step {
        name: "intel/linux-restart",
        about: "with --on-reboot restart a Linux guest reboots twice in one process, its card works in each boot",
        run: restart,
    },
    Step {
        name: "intel/linux-pvir",
        about: "Linux with the module: igb, e1000e, nvme and the emulated device live without an exit by a table",
        run: pvir::intel,
    },
    Step {
        name: "amd/linux-pvir",
        about: "Linux with the module: igb, e1000e, nvme and the emulated device live without an exit by a table",
        run: pvir::amd,
    },
    Step {
        name: "intel/linux-pvir-without",
        about: "the module where pvir is killed, offers nothing, or refuses: all goes on, and it says why",
        run: pvir::without,
    },
    Step {
        name: "intel/linux-goes-on",
        about: "Linux with the module loses nothing in events, sleep, hibernation's test and saves, nor does a crash kernel",
        run: goes_on::run,
    },
    Step {
        name: "intel/linux-saves",
        about: "a Linux guest that computes is saved and goes on in a new process; its igb, found reset, is set up again",
        run: saves::run,
    },
    Step { name: "intel/linux-panic", about: "so does a panic of its kernel, with panic=-1", run: panic },
];

/// Runs in L1.
const SCRIPT: &str = include_str!("l1.sh");
/// Typed into the guest's console.
const WORD: &str = "forty two";
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off";
/// Has the guest's kernel panic.
const PANIC: &str = "echo c >/proc/sysrq-trigger";
/// Interrupts of all entries between two looks: eight times two pings, each there and back.
const LEAST: u64 = 8;
/// How often the guest moves each of the card's interrupts.
const MOVES: u64 = 2;

fn interrupts(iommu: Iommu, apic_ids: [u32; 2]) -> Result<Verdict> {
    let output = boot(iommu, apic_ids, WORD, "pvir.run=interrupts", &[])?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    let report = console.report("guest-power-off")?;
    let note = check(&console, apic_ids).with_context(|| format!("the console:\n{}", console.0))?;
    // Linux saw no call of KVM's that is not served.
    let exits = &report["exits"];
    ensure!(exits["hypercall-other"].as_u64().unwrap_or(0) == 0, "hypercalls that nobody serves: {exits}");
    Ok(Verdict::Passed(note))
}

fn check(console: &Console, apic_ids: [u32; 2]) -> Result<String> {
    console.said("userland cpus=2").context("no userland with two CPUs")?;
    console.said("pci 0000:00:01.0 0x8086 0x10c9 0x020000").context("the card is not on the guest's bus")?;
    let ids: Vec<u32> = console.all("apicid ").map(str::parse).collect::<Result<_, _>>()?;
    ensure!(ids == apic_ids, "APIC ids {ids:?} in the guest");
    ensure!(console.said("driver ") == Some("igb nic=eth0"), "the card has not its driver");
    ensure!(console.said("heard ") == Some(WORD), "what was typed did not arrive");
    console.said("done").context("the guest's script did not come to its end")?;

    let text = &console.0;
    let mut counted = [0; 2];
    for cpu in [1, 0] {
        let before = InterruptCounts::find(text, &format!("@counts before-{cpu} "))?;
        let after = InterruptCounts::find(text, &format!("@counts after-{cpu} "))?;
        counted[cpu] = grown_on(cpu, &before, &after)?;
    }
    let end = InterruptCounts::find(text, "@counts after-0 ")?;
    let serial = end.lines.iter().find(|line| line.name == "ttyS0").context("no interrupt of ttyS0")?;
    ensure!(serial.total() > 0, "COM1 had no interrupt");
    host_counted(text, &end)?;
    Ok(format!(
        "{} and {} interrupts on CPU 0 and 1 as asked for, none astray; in userland after {:.1} s",
        counted[0],
        counted[1],
        boot_time(text)?
    ))
}

/// Seconds from the start of the VMM to the guest's first program.
fn boot_time(text: &str) -> Result<f64> {
    let times = text.lines().find_map(|line| line.strip_prefix("@host userland "));
    let (started, up) = times.and_then(|times| times.split_once(' ')).context("no time of the boot")?;
    Ok(up.parse::<f64>()? - started.parse::<f64>()?)
}

/// All entries of the card had interrupts on this CPU, and none on the other.
fn grown_on(cpu: usize, before: &InterruptCounts, after: &InterruptCounts) -> Result<u64> {
    let mut all = 0;
    let mut queues = 0;
    for line in after.lines.iter().filter(|line| line.name.starts_with("eth0-")) {
        let earlier =
            before.lines.iter().find(|earlier| earlier.irq == line.irq).context("a new interrupt")?;
        ensure!(line.counts.len() == 2 && earlier.counts.len() == 2, "{}: not two CPUs", line.name);
        let grown = |cpu: usize| line.counts[cpu] - earlier.counts[cpu];
        ensure!(grown(1 - cpu) == 0, "{}: {} interrupts on CPU {}", line.name, grown(1 - cpu), 1 - cpu);
        ensure!(grown(cpu) > 0, "{}: no interrupt on CPU {cpu}", line.name);
        all += grown(cpu);
        queues += 1;
    }
    ensure!(queues >= 2, "the card has {queues} queues with an interrupt");
    ensure!(all >= LEAST, "{all} interrupts on CPU {cpu}, at least {LEAST} were expected");
    Ok(all)
}

/// What the guest counted was an interrupt of the host's before: entry by entry, no more came than were sent, but for one
/// that Linux itself may raise with each move. Where the new vector is pending on the CPU that it moves from, for whatever
/// interrupt, Linux takes its own for lost and raises it again (`msi_set_affinity` in arch/x86/kernel/apic/msi.c, Linux
/// 6.12). KVM's tracepoints show that message as an IPI of the guest.
fn host_counted(text: &str, guest: &InterruptCounts) -> Result<()> {
    let host = InterruptCounts::find(text, "@host 2 ")?;
    for line in guest.lines.iter().filter(|line| line.name.starts_with("eth0")) {
        let entry = line.entry.context("an interrupt of the card that is no MSI-X entry")?;
        let sent = host.lines.iter().find(|line| line.entry == Some(entry)).map_or(0, Counts::total);
        let total = line.total();
        ensure!(total <= sent + MOVES, "entry {entry}: {total} in the guest, {sent} on the host");
    }
    Ok(())
}

fn reboot() -> Result<Verdict> {
    ends_by_reset("reboot -f")
}

/// By `reboot -f` and by a panic. Each boot brings the card up with its own driver, as the first one did.
fn restart() -> Result<Verdict> {
    const BOOTS: usize = 3;
    // It is ended when all that it has said has come out: a panic writes between.
    let work = ". /lib/guest/card; load; up; traffic restart; ask to end; eval \"$answer\"";
    let answers = ["reboot -f", PANIC, "poweroff -f"].map(|end| format!("{work}\n{end}"));
    let output = boot(Iommu::Intel, [0, 1], &answers.join("\n"), "", &["--on-reboot", "restart"])?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    let report = console.report("guest-power-off")?;
    for start in ["userland cpus=2", "driver igb nic=eth0", "asks to end"] {
        let seen = console.all(start).count();
        ensure!(seen == BOOTS, "`{start}` was said {seen} times in {BOOTS} boots:\n{}", console.0);
    }
    ensure!(report["restarts"] == 2, "{} restarts", report["restarts"]);
    Ok(Verdict::Passed(format!("{BOOTS} boots in one process, each with traffic of the card")))
}

fn panic() -> Result<Verdict> {
    ends_by_reset(PANIC)
}

fn ends_by_reset(command: &str) -> Result<Verdict> {
    let output = boot(Iommu::Intel, [0, 1], command, "", &[])?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let report = Console::of(&output).report("guest-reset")?;
    Ok(Verdict::Passed(format!("by {}", report["outcome"]["by"].as_str().unwrap_or("?"))))
}

/// Boots the guest with the card that its own driver drives. `answer` is what is typed whenever it asks, `words` and `more` are added to its command line and to the
/// arguments of `pvir run`.
fn boot(iommu: Iommu, apic_ids: [u32; 2], answer: &str, words: &str, more: &[&str]) -> Result<Output> {
    let options = Options {
        iommu,
        cpus: ONE_CPU,
        linux_guest: true,
        devices: vec!["igb,netdev=net".into()],
        // a network of QEMU's own, in which 10.0.2.2 answers
        qemu: vec!["-netdev".into(), "user,id=net,restrict=on".into()],
        ..Options::default()
    };
    let ids = format!("{},{}", apic_ids[0], apic_ids[1]);
    let command_line = format!("{COMMAND_LINE} {words}");
    let pvir = ["--apic-ids", &ids, "--memory", "512M", "--json", "-", "--append", &command_line];
    let argv: Vec<&str> =
        ["sh", "-c", SCRIPT, "sh", answer].into_iter().chain(pvir).chain(more.iter().copied()).collect();
    in_lab(&options, &argv, b"")
}

/// What the guest wrote to its console, with the host's lines.
struct Console(String);

impl Console {
    fn of(output: &Output) -> Self {
        Self(String::from_utf8_lossy(&output.stdout).replace('\r', ""))
    }

    /// What follows the first `@guest` line that starts so.
    fn said<'a>(&'a self, start: &'a str) -> Option<&'a str> {
        self.all(start).next()
    }

    fn all<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| line.strip_prefix("@guest ")?.strip_prefix(start))
    }

    /// The VMM's report, if the run ended so.
    fn report(&self, kind: &str) -> Result<Value> {
        let line = self.0.lines().find_map(|line| line.strip_prefix("@pvir-host "));
        let report: Value = serde_json::from_str(line.context("no report of pvir")?)?;
        ensure!(report["outcome"]["kind"] == kind, "the run ended with {}", report["outcome"]);
        Ok(report)
    }
}
