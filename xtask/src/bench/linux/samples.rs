//! What each step took, in each way, over all rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::super::machine::Machine;
use super::names::{MMIO, RDMSR, WRMSR, XEN, of_ioctl, of_processor, of_user};
use super::way::Host;
use crate::linux_module::life::{Record, Step};

/// The registers of QEMU's remapping unit (`Q35_HOST_BRIDGE_IOMMU_ADDR` of QEMU 10.0) and their end.
const UNIT: std::ops::Range<u64> = 0xfed9_0000..0xfed9_1000;

/// What is counted or timed of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// Exits to the VMM by accesses to MSI-X tables.
    Table,
    /// Exits to the VMM by calls of the module's.
    Call,
    /// Exits to the VMM by accesses to a remapping unit's registers.
    Unit,
    /// All exits to the VMM, by their reason.
    User(String),
    /// All exits of virtual CPUs, by the processor's reason.
    Exit(String),
    /// Ioctls of the host, by their name.
    Ioctl(String),
    /// Nanoseconds of the guest's clock.
    Time,
    /// Nanoseconds of them in calls of the module's.
    InCalls,
    /// How often something was done.
    Done,
}

impl Figure {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Table => "exits: tables".into(),
            Self::Call => "exits: calls".into(),
            Self::Unit => "exits: remapping unit".into(),
            Self::User(name) => format!("exits to the VMM: {name}"),
            Self::Exit(name) => format!("exits of the CPU: {name}"),
            Self::Ioctl(name) => format!("ioctls: {name}"),
            Self::Time => "nanoseconds".into(),
            Self::InCalls => "nanoseconds in calls".into(),
            Self::Done => "done".into(),
        }
    }
}

/// The figures of a step in one run.
type Figures = BTreeMap<Figure, u64>;

/// The steps of one run.
type Run = BTreeMap<String, Figures>;

/// The step that is not one of the guest's: from the VMM's start until the network answered, on the host's clock.
pub(super) const NETWORK: &str = "boot to network up";
/// What a driver does from its load to its unload. `placed` prepares a measurement, and `nothing` is what asking costs.
pub(super) const STEPS: [&str; 7] = ["load", "request", "up", "moves", "masks", "free", "unload"];
/// All of them together.
pub(super) const LIFE: &str = "whole life";

/// All runs.
#[derive(Debug, Default)]
pub(super) struct Samples {
    counted: BTreeMap<Host, Vec<Run>>,
    timed: BTreeMap<Host, Vec<Run>>,
    /// Runs whose guest did not come to its end, and why.
    pub(super) left_out: Vec<String>,
}

impl Samples {
    /// Reads what the lab said of all rounds. A run whose guest did not come to its end is left out, and so is a way
    /// that has none that was counted or none that was timed. Fails where two counts of the same thing differ.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut samples = Self::default();
        for run in text.split("@run ").skip(1) {
            let (head, body) = run.split_once('\n').context("a run without output")?;
            let [name, count] = *head.split_whitespace().collect::<Vec<_>>() else { bail!("a run: {head}") };
            let host = Host::named(name).with_context(|| format!("a run of {name}"))?;
            let record = match Record::read(body).and_then(|record| record.is_whole().map(|()| record)) {
                Ok(record) => record,
                Err(error) => {
                    samples.left_out.push(format!("a run of {head} is left out: {error:#}"));
                    continue;
                }
            };
            let is_timed = count == "no";
            let run = if is_timed { timed(&record) } else { counted(host, &record) };
            let of = if is_timed { &mut samples.timed } else { &mut samples.counted };
            of.entry(host).or_default().push(run.with_context(|| head.to_owned())?);
        }
        let both: BTreeSet<Host> =
            samples.counted.keys().filter(|host| samples.timed.contains_key(host)).copied().collect();
        for runs in [&mut samples.counted, &mut samples.timed] {
            runs.retain(|host, _| both.contains(host));
        }
        ensure!(!both.is_empty(), "no way has a run of each kind: {}", samples.left_out.join("\n"));
        Ok(samples)
    }

    /// Those that took part.
    pub(super) fn hosts(&self) -> Vec<Host> {
        self.counted.keys().copied().collect()
    }

    /// So many runs were counted, and timed, of each.
    pub(super) fn runs(&self) -> [usize; 2] {
        [&self.counted, &self.timed].map(|runs| runs.values().map(Vec::len).min().unwrap_or(0))
    }

    /// The median over the counted runs of all figures together that are meant; none where there was no such step.
    pub(super) fn count(&self, host: Host, step: &str, is_meant: impl Fn(&Figure) -> bool) -> Option<f64> {
        let sum = |run: &Run| {
            let figures = run.get(step)?;
            Some(figures.iter().filter(|(figure, _)| is_meant(figure)).map(|(_, count)| count).sum())
        };
        median(self.counted.get(&host)?.iter().filter_map(sum).collect())
    }

    /// The same of the timed runs.
    pub(super) fn time(&self, host: Host, step: &str, figure: &Figure) -> Option<f64> {
        let of = |run: &Run| run.get(step)?.get(figure).copied();
        median(self.timed.get(&host)?.iter().filter_map(of).collect())
    }

    /// All figures that any counted run has of a step.
    pub(super) fn figures(&self, step: &str) -> BTreeSet<&Figure> {
        let runs = self.counted.values().flatten().filter_map(|run| run.get(step));
        runs.flat_map(BTreeMap::keys).collect()
    }

    /// Everything, as medians, least and most.
    pub(super) fn json(&self, machine: &Machine, notes: &[String]) -> Value {
        let of = |runs: &[Run]| -> Value {
            let mut steps: BTreeMap<&str, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
            for run in runs {
                for (step, figures) in run {
                    for (figure, count) in figures {
                        steps.entry(step).or_default().entry(figure.name()).or_default().push(*count);
                    }
                }
            }
            let spread = |mut values: Vec<u64>| {
                // what a run does not have did not happen there
                values.resize(runs.len(), 0);
                json!({"median": median(values.clone()), "least": values.iter().min(), "most": values.iter().max()})
            };
            let steps = steps.into_iter().map(|(step, figures)| {
                let figures: Map<String, Value> =
                    figures.into_iter().map(|(name, values)| (name, spread(values))).collect();
                (step.to_owned(), Value::from(figures))
            });
            Value::from(steps.collect::<Map<_, _>>())
        };
        let all = |runs: &BTreeMap<Host, Vec<Run>>| {
            let ways = runs.iter().map(|(host, runs)| (host.name().to_owned(), of(runs)));
            Value::from(ways.collect::<Map<_, _>>())
        };
        json!({
            "schema": 1, "machine": machine, "notes": notes, "runs": self.runs(),
            "counted": all(&self.counted), "timed": all(&self.timed),
        })
    }
}

/// The name of a step of a driver.
pub(super) fn of_driver(driver: &str, step: &str) -> String {
    format!("{driver} {step}")
}

fn counted(host: Host, record: &Record) -> Result<Run> {
    let mut run = Run::new();
    let mut up_to_here = Figures::new();
    for step in &record.steps {
        let figures = figures(host, step)?;
        if !run.contains_key(NETWORK) {
            add(&mut up_to_here, &figures);
            if step.name.ends_with(" up") {
                run.insert(NETWORK.into(), up_to_here.clone());
            }
        }
        run.insert(step.name.clone(), figures);
    }
    whole_lives(&mut run);
    for line in record.said("moved ") {
        let (driver, count) = line.trim().split_once(' ').context("nothing was moved")?;
        let step = run.get_mut(&of_driver(driver, "moves")).context("no step of moves")?;
        step.insert(Figure::Done, count.parse()?);
    }
    Ok(run)
}

/// Of one step, by the kernel's tracepoints. What pvir counts by itself has to be the same.
fn figures(host: Host, step: &Step) -> Result<Figures> {
    let raw = &step.raw;
    let user = |reason: u64| raw.user.get(&reason).copied().unwrap_or(0);
    let of_unit: u64 = raw.mmio.iter().filter(|(gpa, _)| UNIT.contains(gpa)).map(|(_, count)| count).sum();
    let calls = if host.is_pvir() { user(XEN) + user(RDMSR) + user(WRMSR) } else { 0 };
    if host.is_pvir() {
        let name = &step.name;
        let counted = step.all_calls();
        ensure!(calls >= counted, "{name}: pvir counted {counted} calls, the kernel {calls} exits by calls");
        ensure!(
            step.trapped == step.table_exits,
            "{name}: pvir counted {} accesses to tables, the kernel {}",
            step.trapped,
            step.table_exits
        );
    }
    ensure!(step.table_exits + of_unit <= user(MMIO), "{}: accesses that the VMM did not see", step.name);
    let mut figures =
        Figures::from([(Figure::Table, step.table_exits), (Figure::Call, calls), (Figure::Unit, of_unit)]);
    let mut put = |figure: Figure, count: u64| *figures.entry(figure).or_default() += count;
    for (reason, count) in &raw.user {
        put(Figure::User(of_user(*reason)), *count);
    }
    for (code, count) in &raw.exits {
        put(Figure::Exit(of_processor(*code)), *count);
    }
    for (number, count) in &raw.ioctls {
        put(Figure::Ioctl(of_ioctl(*number)), *count);
    }
    Ok(figures)
}

/// The times of each step, by the guest's clock; that of the network by the host's.
fn timed(record: &Record) -> Result<Run> {
    let mut run = Run::new();
    for line in record.said("took ") {
        let mut words = line.trim().splitn(3, ' ');
        let mut number = || -> Result<u64> { Ok(words.next().context("a time is missing")?.parse()?) };
        let figures = Figures::from([(Figure::Time, number()?), (Figure::InCalls, number()?)]);
        run.insert(words.next().context("a step without a name")?.to_owned(), figures);
    }
    ensure!(!run.is_empty(), "the guest told no times:\n{}", record.end());
    whole_lives(&mut run);
    let second = |mark: &str| -> Result<f64> {
        let line = record.text.lines().find_map(|line| line.strip_prefix(mark));
        Ok(line.with_context(|| format!("no line {mark}"))?.trim().parse()?)
    };
    let boot = second("@host was asked at ")? - second("@host starts at ")?;
    let boot = Duration::try_from_secs_f64(boot).context("a clock that goes back")?.as_nanos().try_into()?;
    run.insert(NETWORK.into(), Figures::from([(Figure::Time, boot)]));
    Ok(run)
}

/// All steps of each driver together.
fn whole_lives(run: &mut Run) {
    let mut lives = Run::new();
    for (name, figures) in run.iter() {
        let Some((driver, step)) = name.split_once(' ') else { continue };
        if STEPS.contains(&step) {
            add(lives.entry(of_driver(driver, LIFE)).or_default(), figures);
        }
    }
    run.extend(lives);
}

fn add(sum: &mut Figures, figures: &Figures) {
    for (figure, count) in figures {
        *sum.entry(figure.clone()).or_default() += count;
    }
}

fn median(mut values: Vec<u64>) -> Option<f64> {
    values.sort_unstable();
    let half = values.len() / 2;
    let upper = *values.get(half)? as f64;
    Some(if values.len() % 2 == 1 { upper } else { (values[half - 1] as f64 + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runs of a driver that takes one step, in two ways: with a table that is written to, and with a call.
    const TEXT: &str = "\
@run qemu exits\n@host starts at 3.00\n@counted\n\
@guest asks after boot\n@mmio { gpa: c0000000, type: 2 } hitcount: 7\n@user { reason: 6, errno: 0 } hitcount: 7\n@counted\n\
@guest table 0000:00:01.0 0xc0001000 5\n@guest asks after igb load\n\
@mmio { gpa: c0000000, type: 2 } hitcount: 7\n@mmio { gpa: c0001010, type: 2 } hitcount: 52\n\
@user { reason: 6, errno: 0 } hitcount: 59\n@exits { exit_reason: 1024 } hitcount: 60\n\
@ioctls { cmd: 3b6e } hitcount: 13\n@ioctls { cmd: ae80 } hitcount: 59\n@counted\n\
@guest asks after igb up\n@mmio { gpa: c0000000, type: 2 } hitcount: 7\n@mmio { gpa: c0001010, type: 2 } hitcount: 97\n\
@mmio { gpa: fed90088, type: 2 } hitcount: 2\n@user { reason: 6, errno: 0 } hitcount: 106\n@counted\n\
@guest took 90 0 igb load\n@guest done\n\
@run qemu no\n@host starts at 3.00\n@counted\n@guest asks after network\n@counted\n@host was asked at 9.50\n\
@guest took 90 0 igb load\n@guest took 40 10 igb up\n@guest done\n";

    fn is_for_interrupts(figure: &Figure) -> bool {
        matches!(figure, Figure::Table | Figure::Call | Figure::Unit)
    }

    #[test]
    fn each_step_has_its_exits_ioctls_and_time_and_a_life_has_all() {
        let samples = Samples::read(TEXT).unwrap();
        let host = Host::Qemu;
        assert_eq!((samples.hosts(), samples.runs()), (vec![host], [1, 1]));
        assert_eq!(samples.count(host, "igb load", is_for_interrupts), Some(52.0));
        assert_eq!(samples.count(host, "igb up", is_for_interrupts), Some(47.0), "the remapping unit's too");
        assert_eq!(samples.count(host, "igb whole life", is_for_interrupts), Some(99.0));
        assert_eq!(samples.count(host, NETWORK, is_for_interrupts), Some(99.0));
        let set_irqs = |figure: &Figure| *figure == Figure::Ioctl("SET_IRQS".into());
        assert_eq!(samples.count(host, "igb load", set_irqs), Some(13.0));
        assert_eq!(samples.time(host, "igb whole life", &Figure::Time), Some(130.0));
        assert_eq!(samples.time(host, "igb up", &Figure::InCalls), Some(10.0));
        assert_eq!(samples.time(host, NETWORK, &Figure::Time), Some(6.5e9));
        assert_eq!(samples.count(host, "igb nothing", is_for_interrupts), None);
    }

    #[test]
    fn accesses_that_nobody_answered_are_an_error() {
        let text = TEXT.replace("reason: 6, errno: 0 } hitcount: 59", "reason: 6, errno: 0 } hitcount: 20");
        assert!(format!("{:#}", Samples::read(&text).unwrap_err()).contains("the VMM did not see"));
    }

    #[test]
    fn a_guest_that_failed_is_left_out_where_there_is_another() {
        let (counted, _) = TEXT.split_once("@run qemu no").unwrap();
        let failed = counted.replace("@guest done", "@guest failed no answer to ping");
        let samples = Samples::read(&format!("{failed}{TEXT}")).unwrap();
        assert_eq!(samples.runs(), [1, 1]);
        let told = "a run of qemu exits is left out: the guest failed: no answer to ping";
        assert!(samples.left_out[0].starts_with(told), "{:?}", samples.left_out);
        let without = TEXT.replacen("@guest done", "@guest failed no answer to ping", 1);
        assert!(Samples::read(&without).unwrap_err().to_string().contains("no way has a run of each kind"));
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        assert_eq!(
            [vec![], vec![3], vec![9, 1], vec![5, 1, 2]].map(median),
            [None, Some(3.0), Some(5.0), Some(2.0)]
        );
    }
}
