//! What the kernel and the VMM report of a run, and whether both counted the same.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// A step of a round, as the kernel measured it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) cycles: u64,
    pub(super) accesses: u64,
    pub(super) calls: u64,
    pub(super) entries: u64,
}

/// All steps of a round.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Round {
    pub(super) vectors: u32,
    pub(super) round: u32,
    pub(super) set_up: Step,
    pub(super) retarget_one: Step,
    pub(super) retarget_all: Step,
    pub(super) mask: Step,
    pub(super) unmask: Step,
    pub(super) tear_down: Step,
}

/// What was done once.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Once {
    pub(super) cycles: u64,
}

/// Cycles until interrupts were handled.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Delivery {
    /// So many were raised together.
    pub(super) together: u64,
    /// Beginning of a bucket and count in turn.
    pub(super) histogram: Vec<u64>,
}

/// One run.
#[derive(Debug, Default)]
pub(super) struct RunFigures {
    pub(super) rounds: Vec<Round>,
    /// From the kernel's first instruction to the device's first interrupt.
    pub(super) first: Option<Once>,
    /// Interrupts one by one, taken by the processor that has raised them, and by another.
    pub(super) own: Option<Delivery>,
    pub(super) other: Option<Delivery>,
    /// Bursts.
    pub(super) throughput: Option<Delivery>,
}

impl RunFigures {
    /// Reads what a run printed. Fails unless the kernel passed, in this mode, and the VMM (if it reports) counted as
    /// many accesses to the table as the kernel says it made: none, where it has pvir.
    pub(super) fn read(text: &str, mode: &str) -> Result<Self> {
        let events: Vec<Value> = marked(text, "@pvir ").collect::<Result<_, _>>()?;
        let of = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
        let last = events.last().with_context(|| format!("no event at all:\n{}", end(text)))?;
        ensure!(last["verdict"] == "pass", "the kernel did not pass:\n{}", end(text));
        let finished = of("bench-end").next().context("the kernel did not finish")?;
        ensure!(finished["mode"] == mode, "the mode was {}, not {mode}", finished["mode"]);
        if let Some(report) = marked(text, "@pvir-host ").next_back().transpose()? {
            same_counts(finished, &report)?;
        }
        let rounds = of("bench").map(|event| serde_json::from_value(event.clone()));
        let first = of("first-interrupt").next().map(|event| serde_json::from_value(event.clone()));
        let delivery = |name| of(name).next().map(|event| serde_json::from_value(event.clone())).transpose();
        Ok(Self {
            rounds: rounds.collect::<Result<_, _>>().context("a round that is incomplete")?,
            first: first.transpose()?,
            own: delivery("latency-own")?,
            other: delivery("latency-other")?,
            throughput: delivery("throughput")?,
        })
    }
}

fn marked<'a>(
    text: &'a str,
    mark: &'static str,
) -> impl DoubleEndedIterator<Item = serde_json::Result<Value>> + 'a {
    text.lines().filter_map(move |line| line.strip_prefix(mark)).map(serde_json::from_str)
}

fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn same_counts(finished: &Value, report: &Value) -> Result<()> {
    let bars =
        report["devices"].as_array().into_iter().flatten().filter_map(|device| device["bars"].as_array());
    let tables = bars.flatten().filter(|bar| bar["msix"] == true);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let counted: u64 = tables.map(|bar| number(&bar["reads"]) + number(&bar["writes"])).sum();
    let made = number(&finished["accesses"]);
    ensure!(counted == made, "the VMM counted {counted} accesses to the table, the kernel made {made}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = concat!(
        "@pvir {\"event\":\"bench-end\",\"mode\":\"trapped\",\"accesses\":9,\"calls\":0}\n",
        "@pvir {\"event\":\"result\",\"verdict\":\"pass\"}\n",
    );

    fn host(reads: u64, writes: u64) -> String {
        let bar = serde_json::json!({"bar": 2, "msix": true, "reads": reads, "writes": writes});
        format!("{GOOD}@pvir-host {}\n", serde_json::json!({"devices": [{"bars": [bar]}]}))
    }

    #[test]
    fn both_sides_must_have_counted_the_same() {
        assert!(RunFigures::read(&host(2, 7), "trapped").is_ok());
        assert!(RunFigures::read(&host(2, 8), "trapped").unwrap_err().to_string().contains("counted 10"));
        assert!(RunFigures::read(GOOD, "trapped").is_ok(), "QEMU reports nothing");
    }

    #[test]
    fn what_happens_once_and_each_delivery_are_read() {
        let events = concat!(
            "@pvir {\"event\":\"first-interrupt\",\"cycles\":7}\n",
            "@pvir {\"event\":\"latency-own\",\"together\":1,\"histogram\":[16,2,17,1]}\n",
        );
        let run = RunFigures::read(&format!("{events}{GOOD}"), "trapped").unwrap();
        assert_eq!(run.first.map(|first| first.cycles), Some(7));
        assert_eq!(run.own.map(|own| own.histogram), Some(vec![16, 2, 17, 1]));
        assert!(run.other.is_none() && run.throughput.is_none());
    }

    #[test]
    fn another_mode_or_verdict_is_an_error() {
        assert!(RunFigures::read(GOOD, "direct").is_err());
        assert!(RunFigures::read(&GOOD.replace("pass", "fail"), "trapped").is_err());
        assert!(RunFigures::read("", "trapped").is_err());
    }
}
