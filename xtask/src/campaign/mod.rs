//! What takes longer than a test may: it runs for as long as is wished, and writes what it has found into a dated report.

mod fuzz;
mod model;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

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

/// All of them.
fn campaigns() -> impl Iterator<Item = Campaign> {
    [model::CAMPAIGN].into_iter().chain(fuzz::CAMPAIGNS)
}

/// The tests that a campaign is the long form of.
pub(crate) fn gates() -> Vec<Step> {
    model::GATES.into()
}

/// `xtask campaign`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Some(name) = &options.name else {
        campaigns().for_each(|campaign| println!("{:<14} {}", campaign.name, campaign.about));
        return Ok(ExitCode::SUCCESS);
    };
    let campaign = campaigns().find(|campaign| campaign.name == name);
    let Some(Campaign { about, run, .. }) = campaign else {
        let names: Vec<_> = campaigns().map(|campaign| campaign.name).collect();
        bail!("there is no campaign {name}; there are: {}", names.join(", "));
    };
    let mut report = Report::begin(name, about, options.time, options.afresh)?;
    let result = run(&mut report, options.time).with_context(|| format!("campaign {name}"));
    let path = report.write(result.as_ref().err())?;
    result?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
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
