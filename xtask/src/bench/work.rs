//! How much the service and the driver work for an entry: instructions counted by callgrind, bytes counted by the
//! allocator, and the comparison with what was recorded. No clock is read, so a busy machine gives the same figures.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::build::{programs, workspace};
use crate::process;
use crate::runner::{Step, Verdict, skip};
use crate::table::plain;

const VALGRIND: &str = "valgrind";
const RECORDED: &str = "host/benches/work.json";
/// By how many percent a figure may be above or below the recorded one: of the same compiler, and of another one.
const TOLERANCE: u64 = 3;
const WIDE_TOLERANCE: u64 = 25;
/// One way to copy and to fill on every processor. `rep movsb` counts as an instruction for each byte.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load";
/// Most entries of a call.
const PER_CALL: u64 = 512;

pub(crate) const CASE: Step = Step {
    name: "bench/work",
    about: "instructions and bytes for an entry are as recorded, for host and guest",
    run: case,
};

/// Counts instructions and bytes for an entry, and compares them with host/benches/work.json
#[derive(Args)]
pub(crate) struct Options {
    /// Record what is counted now
    #[arg(long)]
    record: bool,
}

/// What is counted: one operation of one side with so many entries.
struct Count {
    side: &'static str,
    what: &'static str,
    entries: u64,
    /// Entries of the call that is counted.
    of: u64,
}

const fn host(what: &'static str, entries: u64) -> Count {
    Count { side: "host", what, entries, of: if entries < PER_CALL { entries } else { PER_CALL } }
}

const fn guest(what: &'static str, entries: u64) -> Count {
    Count { side: "guest", what, entries, of: entries }
}

const COUNTS: [Count; 33] = [
    host("map", 1),
    host("map", 64),
    host("map", 512),
    host("map", 2048),
    host("map-armed", 64),
    host("map-armed", 512),
    host("retarget", 1),
    host("retarget", 64),
    host("retarget", 512),
    host("retarget", 2048),
    Count { of: 1, ..host("retarget-one", 64) },
    Count { of: 1, ..host("retarget-one", 2048) },
    host("unmap", 64),
    host("unmap", 512),
    host("unmap", 2048),
    host("query", 512),
    Count { of: 2048, ..host("bytes", 2048) },
    Count { of: 1, ..host("allocations", 64) },
    Count { of: 1, ..host("allocations", 512) },
    Count { of: 1024, ..host("count-ioctl", 1024) },
    Count { of: 1024, ..host("count-exit", 1024) },
    Count { of: 1024, ..host("counter-bytes", 1024) },
    host("live-locked", 64),
    Count { of: 2048, ..host("live-locked", 2048) },
    Count { of: 2048, ..host("live", 2048) },
    guest("map", 64),
    guest("map", 512),
    guest("map", 2048),
    guest("retarget", 64),
    guest("retarget", 2048),
    guest("unmap", 64),
    guest("unmap", 512),
    guest("unmap", 2048),
];

/// For an entry, by what was done.
type Figures = BTreeMap<String, u64>;

#[derive(Serialize, Deserialize)]
struct Recorded {
    rustc: String,
    valgrind: String,
    figures: Figures,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if process::find(VALGRIND).is_none() {
        bail!("{VALGRIND} is not on PATH; help: install the package {VALGRIND}");
    }
    let now = count()?;
    let file = workspace::root().join(RECORDED);
    if options.record {
        fs::write(&file, serde_json::to_string_pretty(&now)? + "\n").context(RECORDED)?;
        println!("recorded in {RECORDED}");
    }
    let Comparison { table, beyond } = compare(&recorded(&file)?, &now);
    println!("{table}");
    Ok(if beyond.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn case() -> Result<Verdict> {
    if process::find(VALGRIND).is_none() {
        return skip(VALGRIND);
    }
    let recorded = recorded(&workspace::root().join(RECORDED))?;
    let now = count()?;
    let Comparison { table, beyond } = compare(&recorded, &now);
    if !beyond.is_empty() {
        bail!("not as recorded: {}; help: mend it, or `./run.sh work --record`\n{table}", beyond.join(", "));
    }
    let tolerance = tolerance(&recorded, &now);
    let note = format!("{} figures within {tolerance} % of those recorded", now.figures.len());
    Ok(Verdict::Measured { note, table })
}

fn recorded(file: &Path) -> Result<Recorded> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))
}

fn count() -> Result<Recorded> {
    let [host, guest] = programs::work()?;
    let lanes = thread::available_parallelism().map_or(1, NonZero::get);
    // every so-manieth, so that all lanes have of the long ones
    let lane = &|first: usize| {
        let counts = COUNTS.iter().skip(first).step_by(lanes);
        let figure = |count: &Count| {
            let total = count.total(if count.side == "host" { &host } else { &guest })?;
            Ok((format!("{} {} {:>4}", count.side, count.what, count.entries), total / count.of))
        };
        counts.map(figure).collect::<Result<Vec<_>>>()
    };
    let figures = thread::scope(|scope| -> Result<Figures> {
        let lanes: Vec<_> = (0..lanes).map(|first| scope.spawn(move || lane(first))).collect();
        let results =
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| bail!("a thread panicked")));
        Ok(results.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })?;
    let version = |program: &mut Command| Ok::<_, anyhow::Error>(process::output(program)?.trim().to_owned());
    Ok(Recorded {
        rustc: version(Command::new(workspace::tool("RUSTC", "rustc")).arg("--version"))?,
        valgrind: version(Command::new(VALGRIND).arg("--version"))?,
        figures,
    })
}

impl Count {
    /// What `program` counts, or callgrind, of the whole call.
    fn total(&self, program: &Path) -> Result<u64> {
        match self.what {
            "bytes" | "counter-bytes" | "allocations" => {
                let entries = self.entries.to_string();
                process::output(Command::new(program).args([self.what, &entries]))?
                    .trim()
                    .parse()
                    .context(self.what)
            }
            _ => instructions(program, self.what, self.entries),
        }
    }
}

fn instructions(program: &Path, what: &str, entries: u64) -> Result<u64> {
    let mut valgrind = Command::new(VALGRIND);
    valgrind.env("GLIBC_TUNABLES", PLAIN_COPIES).args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--collect-atstart=no",
    ]);
    valgrind.args(frames(what).iter().map(|frame| format!("--toggle-collect={frame}")));
    valgrind.arg(program).args([what, &entries.to_string()]).stdin(Stdio::null());
    let output = valgrind.output().context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{valgrind:?} failed ({}): {said}", output.status);
    }
    match collected(&said) {
        Some(count) if count > 0 => Ok(count),
        _ => bail!("{valgrind:?} counted nothing: {said}"),
    }
}

/// The frames at whose start and end callgrind begins or ceases to count.
fn frames(what: &str) -> &'static [&'static str] {
    match what {
        // A part of what is counted for `live`: it would cease there.
        "live-locked" => &["*::copy_under_lock"],
        // The guest's bench calls the fake host by the latter, which is not to be counted; the host's has none.
        _ => &["work_host::measured*", "work_guest::measured*", "work_guest::the_host*"],
    }
}

/// From a line such as `==7== Collected : 161267`.
fn collected(said: &str) -> Option<u64> {
    said.split_once("Collected :")?.1.split_whitespace().next()?.parse().ok()
}

fn tolerance(recorded: &Recorded, now: &Recorded) -> u64 {
    let same = recorded.rustc == now.rustc && recorded.valgrind == now.valgrind;
    if same { TOLERANCE } else { WIDE_TOLERANCE }
}

/// What is counted now beside what is recorded.
struct Comparison {
    table: String,
    /// What is beyond the tolerance.
    beyond: Vec<String>,
}

fn compare(recorded: &Recorded, now: &Recorded) -> Comparison {
    let tolerance = tolerance(recorded, now);
    let mut rows = Vec::new();
    let mut beyond = Vec::new();
    for (what, &figure) in &now.figures {
        let before = recorded.figures.get(what).copied();
        let within = before.is_some_and(|before| before.abs_diff(figure) * 100 <= before * tolerance);
        let previous = before.map_or_else(|| "none".into(), |before| before.to_string());
        if !within {
            beyond.push(format!("{what} (recorded {previous}, now {figure})"));
        }
        let mark = if within { "" } else { "BEYOND" };
        rows.push(vec![what.clone(), previous, figure.to_string(), mark.to_owned()]);
    }
    let gone = recorded.figures.keys().filter(|what| !now.figures.contains_key(*what));
    beyond.extend(gone.map(|what| format!("{what} (recorded, and not counted now)")));
    let head = ["for an entry", "recorded", "now", ""].map(str::to_owned).to_vec();
    let mut table = plain(head, rows);
    if tolerance != TOLERANCE {
        table = format!(
            "NOT THE RECORDED COMPILER OR VALGRIND: compared within {tolerance} %, not {TOLERANCE} %\n  \
             recorded: {}, {}; now: {}, {}\n{table}",
            recorded.rustc, recorded.valgrind, now.rustc, now.valgrind
        );
    }
    Comparison { table, beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rustc: &str, figure: u64) -> Recorded {
        let figures = Figures::from([("host map  512".into(), figure)]);
        Recorded { rustc: rustc.into(), valgrind: "valgrind-3".into(), figures }
    }

    #[test]
    fn a_figure_beyond_the_tolerance_is_named() {
        assert!(compare(&of("a", 1000), &of("a", 1030)).beyond.is_empty());
        assert_eq!(compare(&of("a", 1000), &of("a", 1031)).beyond.len(), 1);
        assert_eq!(compare(&of("a", 1000), &of("a", 969)).beyond.len(), 1);
        assert!(compare(&of("a", 1000), &of("b", 1250)).beyond.is_empty());
        assert_eq!(compare(&of("a", 1000), &of("b", 1251)).beyond.len(), 1);
    }

    #[test]
    fn figures_that_come_or_go_are_named() {
        let none = Recorded { figures: Figures::new(), ..of("a", 0) };
        assert_eq!(compare(&of("a", 7), &none).beyond.len(), 1);
        assert_eq!(compare(&none, &of("a", 7)).beyond.len(), 1);
    }

    #[test]
    fn what_callgrind_says_is_read() {
        assert_eq!(collected("==9== Events    : Ir\n==9== Collected : 161267\n==9==\n"), Some(161_267));
        assert_eq!(collected("==9== no\n"), None);
    }
}
