//! Storms of an emulated device: how soon they are ended, and what a VM beside it has of them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest::{Ran, guest};
use crate::build::Programs;

const DEVICE: [&str; 2] = ["--device", "emulated,vectors=10"];
/// The limit of the storming VM, in interrupts a second; the device raises many times as many.
pub(super) const LIMIT: &str = "20000";
/// Rounds of a VM that is to storm as long as somebody looks.
const FOR_LONG: &str = "storms rounds=100000";
/// What its guest prints when it begins, and when a storm has ended.
const BEGUN: &str = "storms by itself";
const ENDED: &str = "\"event\":\"storm\"";
/// Interrupts of the VM beside it, one by one.
const MEASURE: &str = "bench rounds=1 interrupts=400";

/// Each storm was ended by the host, which has told so.
pub(super) fn check(ran: &Ran) -> Result<String> {
    let storms: Vec<&Value> = ran.events.iter().filter(|event| event["event"] == "storm").collect();
    let ended = u64::try_from(storms.len())?;
    ensure!(ended > 0 && ran.report["service"]["storms"] == ended, "{storms:?}: {}", ran.report["service"]);
    let told =
        ran.stderr.lines().filter(|line| line.contains("interrupts in") && line.contains("is cut off"));
    ensure!(told.count() == storms.len(), "the operator was told otherwise: {}", ran.stderr);
    let of = |key: &str| storms.iter().map(|storm| storm[key].to_string()).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "cut off {} ms after it began, {} interrupts handled by then",
        of("milliseconds"),
        of("handled")
    ))
}

/// The latency of a VM alone, beside one whose storms are ended, and beside one whose storms are not. The figures are
/// shown, and none of them is a limit.
pub(super) fn neighbour(programs: &Programs) -> Result<String> {
    let alone = shown(latency(programs)?);
    let (ended, rounds) = beside(programs, LIMIT, ENDED)?;
    let (not_ended, _) = beside(programs, "off", BEGUN)?;
    Ok(format!(
        "latency in cycles, median and 99 %: alone {alone}; beside a VM whose {rounds} storms are ended {ended}; beside \
         one whose storm is not {not_ended}"
    ))
}

/// The latency beside a VM that storms, and how many storms of it have ended.
fn beside(programs: &Programs, limit: &str, sign: &str) -> Result<(String, usize)> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let arguments = [&["--storm-limit", limit, "--rate-limit", "off"][..], &DEVICE].concat();
    let mut storm = Storm::start(pvir, &programs.kernel, &arguments, FOR_LONG, sign)?;
    let latency = shown(latency(programs)?);
    // The first one was the sign, or there is none.
    Ok((latency, storm.ended()? + 1))
}

fn shown((median, highest): (u64, u64)) -> String {
    format!("{median} and {highest}")
}

/// The median and the 99th percentile of how long interrupts take to another vCPU, in cycles.
pub(in crate::system_tests) fn latency(programs: &Programs) -> Result<(u64, u64)> {
    let machine = ["--cpus", "2"].into_iter().chain(DEVICE).collect::<Vec<_>>();
    let ran = guest(programs, &machine, MEASURE)?;
    let measured = ran.events.iter().find(|event| event["event"] == "latency-other");
    let histogram = measured.and_then(|event| event["histogram"].as_array()).context("no latency")?;
    let buckets: Vec<(u64, u64)> = histogram
        .chunks_exact(2)
        .filter_map(|bucket| Some((bucket.first()?.as_u64()?, bucket.last()?.as_u64()?)))
        .collect();
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    ensure!(all > 0, "no interrupt was measured");
    Ok((quantile(&buckets, all / 2), quantile(&buckets, all * 99 / 100)))
}

/// Where the bucket begins in which the interrupt of this rank is.
fn quantile(buckets: &[(u64, u64)], rank: u64) -> u64 {
    let mut before = 0;
    let reached = buckets.iter().find(|(_, count)| {
        before += count;
        before > rank
    });
    reached.or(buckets.last()).map_or(0, |(begin, _)| *begin)
}

/// A VM that storms, killed when dropped.
pub(in crate::system_tests) struct Storm(Child);

impl Storm {
    /// When it answers, the VM has given this sign.
    pub(in crate::system_tests) fn start(
        pvir: &Path,
        kernel: &Path,
        arguments: &[&str],
        words: &str,
        sign: &str,
    ) -> Result<Self> {
        let mut command = Command::new(pvir);
        command.args(["run", "--cpus", "2"]).args(arguments).args(["--append", words]).arg(kernel);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.as_mut().context("no stdout")?;
        let mut storm = BufReader::with_capacity(1, stdout).lines();
        let begun = storm.any(|line| line.is_ok_and(|line| line.contains(sign)));
        let storm = Self(child);
        ensure!(begun, "the VM that is to storm has not begun");
        Ok(storm)
    }

    /// Ends it, and counts the storms that were ended before.
    fn ended(&mut self) -> Result<usize> {
        self.0.kill()?;
        let stdout = BufReader::new(self.0.stdout.take().context("no stdout")?);
        let lines = stdout.lines().map_while(Result::ok);
        Ok(lines.filter(|line| line.contains(ENDED)).count())
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bucket_of_its_rank() {
        let buckets = [(100, 5), (200, 4), (400, 1)];
        assert_eq!([0, 4, 5, 8, 9, 10].map(|rank| quantile(&buckets, rank)), [100, 100, 200, 200, 400, 400]);
    }
}
