//! What runs in a process: the service's own time, by criterion, over a KVM and a device that do nothing
//! (`host/benches/service.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::build::workspace;
use crate::numbers::grouped;
use crate::progress::step;
use crate::table::plain;

/// Entries between which growth is shown.
const GROWTH: [u32; 2] = [64, 2048];
/// What criterion is given: less than it takes by itself, for fifty benchmarks.
const QUICK: [&str; 1] = ["--quick"];
const FULL: [&str; 6] = ["--warm-up-time", "0.3", "--measurement-time", "1", "--sample-size", "30"];

/// Nanoseconds for a call or calls of so many entries, by what was done.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Times(BTreeMap<String, BTreeMap<u32, f64>>);

/// Measures.
pub(super) fn measure(quick: bool) -> Result<Times> {
    // a folder of its own, so that nothing of an earlier run is read
    let folder = tempfile::tempdir()?;
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--quiet", "--package", "pvir-bench", "--bench", "service", "--"]);
    cargo.args(if quick { &QUICK[..] } else { &FULL }).env("CRITERION_HOME", folder.path());
    cargo.stdin(Stdio::null());
    step("the service in a process", "criterion, five sizes", || {
        let output = cargo.output().context("cannot start cargo")?;
        ensure!(output.status.success(), "the benchmark failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    })?;
    read(folder.path())
}

/// Reads criterion's files: a folder for each benchmark, with its name and what was found.
fn read(folder: &Path) -> Result<Times> {
    let mut times = Times::default();
    for group in folders(folder)? {
        for of_size in folders(&group)? {
            let file = |name: &str| -> Result<Value> {
                let path = of_size.join("new").join(name);
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                serde_json::from_str(&text).with_context(|| path.display().to_string())
            };
            if !of_size.join("new/benchmark.json").exists() {
                continue;
            }
            let (name, found) = (file("benchmark.json")?, file("estimates.json")?);
            let what = name["group_id"].as_str().context("group_id")?.to_owned();
            let entries = name["value_str"].as_str().context("value_str")?.parse()?;
            let median = found["median"]["point_estimate"].as_f64().context("median")?;
            times.0.entry(what).or_default().insert(entries, median);
        }
    }
    ensure!(!times.0.is_empty(), "criterion left nothing in {}", folder.display());
    Ok(times)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

impl Times {
    /// A table: nanoseconds for an entry, or for the call where it is about one entry of many.
    pub(super) fn render(&self) -> String {
        let mut sizes: Vec<u32> = self.0.values().flat_map(BTreeMap::keys).copied().collect();
        sizes.sort_unstable();
        sizes.dedup();
        let head = ["entries".to_owned()].into_iter().chain(sizes.iter().map(grouped));
        let head = head.chain(["2,048 / 64".to_owned()]).collect();
        let cell = |number: Option<f64>, digits| number.map_or_else(String::new, |n| format!("{n:.digits$}"));
        let row = |(what, times): (&String, &BTreeMap<u32, f64>)| {
            let each = |size: u32| times.get(&size).map(|time| time / f64::from(entries_of(what, size)));
            let growth = GROWTH.map(each);
            let growth = growth[1].zip(growth[0]).map(|(large, small)| large / small);
            let times = sizes.iter().map(|size| cell(each(*size), 0));
            [what.clone()].into_iter().chain(times).chain([cell(growth, 2)]).collect()
        };
        format!(
            "the service in a process: nanoseconds for an entry, over a KVM and a device that do nothing (criterion)\n{}\n",
            plain(head, self.0.iter().map(row).collect())
        )
    }
}

/// How many entries a benchmark's time is for.
fn entries_of(what: &str, size: u32) -> u32 {
    if what.ends_with("of one") { 1 } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(folder: &Path, group: &str, size: u32, nanoseconds: f64) {
        let new = folder.join(group).join(size.to_string()).join("new");
        fs::create_dir_all(&new).unwrap();
        let name = serde_json::json!({"group_id": group, "function_id": null, "value_str": size.to_string()});
        fs::write(new.join("benchmark.json"), name.to_string()).unwrap();
        let found = serde_json::json!({"median": {"point_estimate": nanoseconds}});
        fs::write(new.join("estimates.json"), found.to_string()).unwrap();
        fs::create_dir_all(folder.join(group).join("report")).unwrap();
    }

    #[test]
    fn times_are_for_an_entry_and_growth_is_told() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), "MAP", 64, 6400.0);
        leave(folder.path(), "MAP", 2048, 409_600.0);
        leave(folder.path(), "RETARGET of one", 2048, 300.0);
        let text = read(folder.path()).unwrap().render();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[2], ["MAP", "100", "200", "2.00"]);
        assert_eq!(lines[3], ["RETARGET", "of", "one", "300"]);
    }

    #[test]
    fn an_empty_folder_is_an_error() {
        assert!(read(tempfile::tempdir().unwrap().path()).is_err());
    }
}
