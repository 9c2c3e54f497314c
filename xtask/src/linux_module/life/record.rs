//! What a guest's steps took, read from the lab's output.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Of one entry of an MSI-X table.
const ENTRY: u64 = 16;
/// Ioctls by their numbers (`linux/kvm.h`, `linux/vfio.h`). KVM_SIGNAL_MSI is none of them: it is of the I/O APIC, and so of
/// the console.
const IOCTLS: [(u64, &str); 3] =
    [(0x4008_ae6a, "KVM_SET_GSI_ROUTING"), (0x4020_ae76, "KVM_IRQFD"), (0x3b6e, "VFIO_DEVICE_SET_IRQS")];

/// A whole run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) steps: Vec<Step>,
    /// All that was said.
    pub(crate) text: String,
    /// pvir's last report; null if it is not pvir.
    pub(crate) report: Value,
}

/// What a step took.
#[derive(Debug)]
pub(crate) struct Step {
    /// As the guest calls it: driver and step.
    pub(crate) name: String,
    /// Exits by accesses to MSI-X tables, by the kernel's tracepoint.
    pub(crate) table_exits: u64,
    /// Ioctls for interrupts, by the kernel's tracepoint.
    pub(crate) ioctls: BTreeMap<&'static str, u64>,
    /// Calls by their operation; pvir's own count.
    pub(crate) calls: BTreeMap<String, u64>,
    /// Accesses to the tables that were trapped; pvir's own count.
    pub(crate) trapped: u64,
    /// What all of it is taken from.
    pub(crate) raw: Raw,
}

/// What the kernel's tracepoints counted in a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    /// Accesses that left the guest, by the address of guest memory.
    pub(crate) mmio: BTreeMap<u64, u64>,
    /// All ioctls on the host, by their numbers.
    pub(crate) ioctls: BTreeMap<u64, u64>,
    /// Exits of virtual CPUs, by the processor's own code for it: only where they are counted (`PVIR_COUNT=exits`).
    pub(crate) exits: BTreeMap<u64, u64>,
    /// Exits to the VMM, by the reason of `linux/kvm.h`: only where they are counted. Signals are not among them.
    pub(crate) user: BTreeMap<u64, u64>,
}

/// What was counted up to a moment.
#[derive(Clone, Default)]
struct Counts {
    raw: Raw,
    report: Value,
}

impl Record {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let text = text.replace('\r', "");
        let tables = tables(&text)?;
        let mut steps = Vec::new();
        let mut parts = text.split("@guest asks after ");
        // where the VM's start is counted, the first step is all up to the first question
        let start =
            parts.next().and_then(|start| start.split_once("@host starts at ")?.1.split_once("@counted"));
        let mut before = start.map(|(counted, _)| Counts::read(counted)).transpose()?;
        let mut report = Value::Null;
        for part in parts {
            let (name, rest) = part.split_once('\n').context("a question without an end")?;
            let (counted, said) =
                rest.split_once("@counted").with_context(|| format!("nothing counted after {name}"))?;
            let now = Counts::read(counted)?;
            if let Some(before) = &before {
                steps.push(now.since(before, name.trim(), &tables));
            }
            let last = said.lines().filter_map(|line| line.strip_prefix("@pvir-host ")).next_back();
            report = last.map_or(Ok(now.report.clone()), serde_json::from_str)?;
            before = Some(now);
        }
        ensure!(!steps.is_empty(), "the guest took no step:\n{text}");
        Ok(Self { steps, text, report })
    }

    /// What follows each line of the guest that starts so.
    pub(crate) fn said<'a>(&'a self, start: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let start = format!("@guest {start}");
        self.text.lines().filter_map(move |line| line.strip_prefix(start.as_str()))
    }

    /// Fails unless the guest's script came to its end, and its kernel warned of nothing.
    pub(crate) fn is_whole(&self) -> Result<()> {
        if let Some(why) = self.said("failed ").next() {
            bail!("the guest failed: {why}\n{}", self.end());
        }
        ensure!(
            self.said("done").next().is_some(),
            "the guest's script did not come to its end:\n{}",
            self.end()
        );
        let words = ["WARNING", "BUG", "Oops", "imeout", "timed out", "lockup", "stall"];
        let warned = self.kernel().find(|line| words.iter().any(|word| line.contains(word)));
        ensure!(warned.is_none(), "the guest's kernel: {}", warned.unwrap_or_default());
        Ok(())
    }

    /// What the guest's kernel said of pvir and warned of.
    pub(crate) fn kernel(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("@kernel "))
    }

    /// The last lines, without counts.
    pub(crate) fn end(&self) -> String {
        let is_count =
            |line: &&str| ["@mmio", "@ioctls", "@pvir-host"].iter().any(|mark| line.starts_with(mark));
        let lines: Vec<&str> = self.text.lines().filter(|line| !line.is_empty() && !is_count(line)).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn step(&self, name: &str) -> Result<&Step> {
        self.steps.iter().find(|step| step.name == name).with_context(|| format!("there was no step {name}"))
    }
}

impl Step {
    /// Calls of all operations.
    pub(crate) fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(crate) fn all_ioctls(&self) -> u64 {
        self.ioctls.values().sum()
    }
}

impl Raw {
    fn since(&self, before: &Self) -> Self {
        Self {
            mmio: grown(&before.mmio, &self.mmio),
            ioctls: grown(&before.ioctls, &self.ioctls),
            exits: grown(&before.exits, &self.exits),
            user: grown(&before.user, &self.user),
        }
    }
}

impl Counts {
    fn read(text: &str) -> Result<Self> {
        let mut counts = Self::default();
        for line in text.lines() {
            if let Some(json) = line.strip_prefix("@pvir-host ") {
                counts.report = serde_json::from_str(json).context("a report that is no JSON")?;
            } else if let Some((keys, count)) = histogram(line, "@mmio ") {
                // a read is told twice: when it leaves the guest (0), and when it is answered (1)
                if keys.get("type") != Some(&"0") {
                    add(&mut counts.raw.mmio, number(&keys, "gpa", 16)?, count);
                }
            } else if let Some((keys, count)) = histogram(line, "@ioctls ") {
                add(&mut counts.raw.ioctls, number(&keys, "cmd", 16)?, count);
            } else if let Some((keys, count)) = histogram(line, "@exits ") {
                add(&mut counts.raw.exits, number(&keys, "exit_reason", 10)?, count);
            } else if let Some((keys, count)) = histogram(line, "@user ") {
                if keys.get("errno") == Some(&"0") {
                    add(&mut counts.raw.user, number(&keys, "reason", 10)?, count);
                }
            }
        }
        Ok(counts)
    }

    fn since(&self, before: &Self, name: &str, tables: &[(u64, u64)]) -> Step {
        let raw = self.raw.since(&before.raw);
        let is_of_table = |gpa: u64| tables.iter().any(|(first, end)| (*first..*end).contains(&gpa));
        let table_exits = raw.mmio.iter().filter(|(gpa, _)| is_of_table(**gpa)).map(|(_, count)| count).sum();
        let ioctls = IOCTLS.iter().filter_map(|(cmd, name)| Some((*name, *raw.ioctls.get(cmd)?))).collect();
        let of = |counts: &Self| operations(&counts.report);
        let mut calls = of(self);
        for (name, count) in of(before) {
            calls.entry(name).and_modify(|now| *now -= count);
        }
        calls.retain(|_, count| *count > 0);
        Step {
            name: name.to_owned(),
            table_exits,
            ioctls,
            calls,
            trapped: trapped(&self.report) - trapped(&before.report),
            raw,
        }
    }
}

/// First address and end of each MSI-X table.
fn tables(text: &str) -> Result<Vec<(u64, u64)>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("@guest table "));
    let table = |line: &str| {
        let [_, address, entries] = *line.split_whitespace().collect::<Vec<_>>() else {
            bail!("a table: {line}")
        };
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16)?;
        Ok((address, address + ENTRY * entries.parse::<u64>()?))
    };
    lines.map(table).collect()
}

/// Keys and count of a line such as `@mmio { gpa: c0040000, type: 2 } hitcount: 314`.
fn histogram<'a>(line: &'a str, mark: &str) -> Option<(BTreeMap<&'a str, &'a str>, u64)> {
    let (keys, count) = line.strip_prefix(mark)?.strip_prefix('{')?.split_once("} hitcount:")?;
    let keys = keys.split(',').filter_map(|pair| pair.split_once(':'));
    let keys = keys.map(|(key, value)| (key.trim(), value.trim())).collect();
    Some((keys, count.split_whitespace().next()?.parse().ok()?))
}

fn number(keys: &BTreeMap<&str, &str>, name: &str, radix: u32) -> Result<u64> {
    let text = keys.get(name).with_context(|| format!("a histogram without {name}"))?;
    u64::from_str_radix(text.trim_start_matches("0x"), radix).with_context(|| format!("{name}: {text}"))
}

fn add(counts: &mut BTreeMap<u64, u64>, key: u64, count: u64) {
    *counts.entry(key).or_default() += count;
}

fn grown(before: &BTreeMap<u64, u64>, now: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let old = |key: &u64| before.get(key).copied().unwrap_or(0);
    now.iter().map(|(key, count)| (*key, count - old(key))).filter(|(_, count)| *count > 0).collect()
}

fn operations(report: &Value) -> BTreeMap<String, u64> {
    let operations = report["service"]["operations"].as_object().into_iter().flatten();
    operations.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn trapped(report: &Value) -> u64 {
    let bars =
        report["devices"].as_array().into_iter().flatten().filter_map(|device| device["bars"].as_array());
    let tables = bars.flatten().filter(|bar| bar["msix"] == true);
    tables.flat_map(|bar| [&bar["reads"], &bar["writes"]]).filter_map(Value::as_u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
@guest asks after start\n\n\
@mmio { gpa: fec00010, type:          2 } hitcount:         10\n\
@pvir-host {\"service\":{\"operations\":{\"ENABLE\":1}},\"devices\":[]}\n@counted\n\
@guest table 0000:00:01.0 0xc0040000 10\n@guest asks after igb load\n\
@mmio { gpa: c004009c, type:          0 } hitcount:          1\n@mmio { gpa: c004009c, type:          1 } hitcount:          1\n\
@mmio { gpa: c00400a0, type:          2 } hitcount:          1\n@mmio { gpa: fec00010, type:          2 } hitcount:         11\n\
@ioctls { cmd: 3b6e } hitcount:          2\n@ioctls { cmd: ae80 } hitcount: 99\n\
@pvir-host {\"service\":{\"operations\":{\"ENABLE\":1,\"MAP\":2}},\"devices\":[{\"bars\":[{\"msix\":true,\"reads\":1,\"writes\":0}]}]}\n\
@counted\n@kernel [1.0] pvir: on\n@guest done\n@pvir-host {\"outcome\":{\"kind\":\"guest-power-off\"}}\n";

    #[test]
    fn a_step_is_what_was_counted_since_the_question_before() {
        let record = Record::read(TEXT).unwrap();
        assert_eq!(record.steps.len(), 1);
        let step = record.step("igb load").unwrap();
        assert_eq!((step.table_exits, step.trapped), (1, 1));
        assert_eq!(step.ioctls, BTreeMap::from([("VFIO_DEVICE_SET_IRQS", 2)]));
        assert_eq!(step.calls, BTreeMap::from([("MAP".to_owned(), 2)]));
        assert_eq!(record.report["outcome"]["kind"], "guest-power-off");
        record.is_whole().unwrap();
    }

    #[test]
    fn where_the_start_is_counted_the_first_step_is_the_boot() {
        let started = "@host starts at 7.25\n@exits { exit_reason: 120 } hitcount: 5\n@counted\n";
        let boot = "@exits { exit_reason: 120 } hitcount: 9\n@user { reason: 2, errno: 0 } hitcount: 3\n\
                    @user { reason: 10, errno: 18446744073709551612 } hitcount: 1\n";
        let text =
            TEXT.replace("@guest asks after start\n", &format!("{started}@guest asks after start\n{boot}"));
        let record = Record::read(&text).unwrap();
        let step = record.step("start").unwrap();
        assert_eq!(step.raw.exits, BTreeMap::from([(120, 4)]));
        assert_eq!(step.raw.user, BTreeMap::from([(2, 3)]), "a signal is no exit of the guest's");
        assert_eq!((record.steps.len(), step.all_calls()), (2, 1));
    }

    #[test]
    fn what_the_guest_and_its_kernel_complain_of_is_told() {
        let with = |line: &str| {
            let text = TEXT.replace("@guest done\n", line);
            Record::read(&text).unwrap().is_whole().unwrap_err().to_string()
        };
        assert!(with("@guest failed no answer to ping\n").starts_with("the guest failed: no answer to ping"));
        assert!(with("").starts_with("the guest's script did not come to its end"));
        assert!(with("@kernel [2.0] nvme0: I/O timed out\n@guest done\n").contains("I/O timed out"));
    }
}
