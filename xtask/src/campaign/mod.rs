//! What takes longer than a test may: it runs for as long as is wished, and writes what it has found into a dated report.

mod bugs;
mod checkers;
mod coverage;
mod fuzz;
mod hostile;
mod model;
pub(crate) mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::lab::Iommu;
use crate::runner::Step;
use report::Report;

/// Run a campaign, and write a dated report into docs/reports/
#[derive(Args)]
pub(crate) struct Options {
    /// Which; without it, all are named
    name: Option<String>,
    /// For how long: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    time: Duration,
    /// In the lab, with a device that is passed through: the campaign NAME-IOMMU
    #[arg(long, value_enum, value_name = "IOMMU", requires = "name")]
    lab: Option<Iommu>,
    /// Do again what an interrupted campaign of the same commit has done
    #[arg(long)]
    afresh: bool,
}

/// One of them.
struct Campaign {
    name: &'static str,
    /// What it shows.
    about: &'static str,
    run: fn(&mut Report, Duration) -> Result<()>,
}

const CAMPAIGNS: &[Campaign] =
    &[model::CAMPAIGN, bugs::CAMPAIGN, coverage::CAMPAIGN, checkers::MIRI, checkers::VALGRIND];

/// The tests that a campaign is the long form of.
pub(crate) fn gates() -> Vec<Step> {
    model::GATES.into()
}

/// All of them.
fn campaigns() -> impl Iterator<Item = &'static Campaign> {
    CAMPAIGNS.iter().chain(&checkers::SANITIZE).chain(&fuzz::CAMPAIGNS).chain(&hostile::CAMPAIGNS)
}

/// `xtask campaign`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Some(name) = &options.name else {
        campaigns().for_each(|campaign| println!("{:<17} {}", campaign.name, campaign.about));
        return Ok(ExitCode::SUCCESS);
    };
    let name = &match options.lab.and_then(|iommu| iommu.to_possible_value()) {
        Some(iommu) => format!("{name}-{}", iommu.get_name()),
        None => name.clone(),
    };
    let Some(Campaign { about, run, .. }) = campaigns().find(|campaign| campaign.name == name) else {
        let names: Vec<_> = campaigns().map(|campaign| campaign.name).collect();
        bail!("there is no campaign {name}; there are: {}", names.join(", "));
    };
    let command = format!("./run.sh campaign {name} --for {}s", options.time.as_secs());
    let mut report = Report::begin(name, about, command, options.afresh)?;
    let result = run(&mut report, options.time).with_context(|| format!("campaign {name}"));
    let path = report.write(result.as_ref().err())?;
    result?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// The names of all campaigns.
#[cfg(test)]
pub(crate) fn names() -> Vec<&'static str> {
    campaigns().map(|campaign| campaign.name).collect()
}

/// A duration with its unit, as `--for` takes it.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 90s, 10m or 2h");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let seconds = |text| duration(text).map(|time| time.as_secs()).ok();
        assert_eq!(["90s", "10m", "2h"].map(seconds), [Some(90), Some(600), Some(7200)]);
        assert!(
            ["", "10", "m", "0s", "1d", "-1s", "1.5m", "99999999999999999h"]
                .map(seconds)
                .iter()
                .all(Option::is_none)
        );
    }
}
