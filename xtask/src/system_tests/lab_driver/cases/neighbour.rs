//! What a VM's interrupts lose of their latency while another VM's device storms: beside storms that are ended, and beside
//! one that is not. These are figures, and none of them is a limit.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::number;
use crate::host;
use crate::vm::Vm;

/// The limit of the VM that storms, in interrupts a second. Its kernel raises a few thousand in the lab.
const LIMIT: &str = "1000";
/// As long as somebody looks.
const STORMS: &str = "storms rounds=100000 reset=guest";
const BEGUN: &str = "0000:00:01.0: 2 entries, storms driven by this kernel";
/// Interrupts of the VM beside it, one by one, to another vCPU.
const MEASURE: &str = "bench rounds=1 interrupts=400";

/// Device 0 of the lab storms, and device 2 is measured.
pub(super) fn run() -> Result<CaseReport> {
    let alone = latency()?;
    let (ended, storms) = beside(LIMIT)?;
    let (not_ended, none) = beside("off")?;
    ensure!(storms > 0 && none == 0, "{storms} storms were ended, and without a limit {none}");
    Ok(format!(
        "latency in microseconds, median and 99 %: alone {alone}; beside a VM of which {storms} storms are ended {ended}; \
         beside one whose storm is not {not_ended}"
    )
    .into())
}

/// The latency beside a VM with this limit, and how many storms of it were ended meanwhile.
fn beside(limit: &str) -> Result<(String, usize)> {
    let device = format!("vfio={}", host::device(0)?);
    let mut storm = Vm::start(&["--device", &device, "--storm-limit", limit, "--rate-limit", "off"], STORMS)?;
    ensure!(storm.until_line(BEGUN)?, "the VM that is to storm has not begun");
    let latency = latency()?;
    // An answer shows that it was there to the end.
    storm.counts().context("the VM that storms")?;
    Ok((latency, storm.events("storm").len()))
}

/// The median and the 99th percentile of how long interrupts take to another vCPU.
fn latency() -> Result<String> {
    let device = format!("vfio={}", host::device(2)?);
    let ended = Vm::start(&["--device", &device], MEASURE)?.finish()?;
    ended.passed()?;
    let begun = ended.of_kind("bench-start").pop().context("no bench")?;
    let measured = ended.of_kind("latency-other").pop().context("no latency")?;
    let numbers: Vec<u64> =
        measured["histogram"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let buckets = numbers.chunks_exact(2).flat_map(|bucket| {
        // Where a bucket begins, and how many are in it.
        std::iter::repeat_n(bucket[0], usize::try_from(bucket[1]).unwrap_or(0))
    });
    let all: Vec<u64> = buckets.collect();
    let at = |rank: usize| all.get(rank).map(|cycles| cycles * 1000 / number(&begun, "/khz").max(1));
    let (median, most) = (at(all.len() / 2), at(all.len() * 99 / 100));
    Ok(format!(
        "{} and {}",
        median.context("no interrupt was measured")?,
        most.context("no interrupt was measured")?
    ))
}
