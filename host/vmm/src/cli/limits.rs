//! Limits as numbers with a unit: rates and times.

use pvir_host::service::{RateLimit, StormLimit};

pub(super) fn parse_rate_limit(text: &str) -> Result<RateLimit, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        _ if text == "off" => Ok(RateLimit::OFF),
        Ok(percent @ 1..=100_000) => Ok(RateLimit::percent(percent)),
        _ => Err("expected percent of one core, 1 to 100000, or `off`".to_owned()),
    }
}

pub(super) fn parse_storm_limit(text: &str) -> Result<StormLimit, String> {
    if text == "off" {
        return Ok(StormLimit::OFF);
    }
    let rate = |text: &str| {
        let number = text.parse().ok().filter(|rate| *rate >= StormLimit::MIN);
        number.ok_or_else(|| format!("expected interrupts a second, {} or more, or `off`", StormLimit::MIN))
    };
    match text.split_once(',') {
        None => Ok(StormLimit::per_second(rate(text)?)),
        Some((device, vm)) => Ok(StormLimit::per_second(rate(device)?).with_vm(rate(vm)?)),
    }
}

pub(super) fn parse_grace(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}

pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(seconds),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_rate_is_limited_by_percent_or_not_at_all() {
        assert_eq!(parse_rate_limit("25"), Ok(RateLimit::percent(25)));
        assert_eq!(parse_rate_limit("200%"), Ok(RateLimit::percent(200)));
        assert_eq!(parse_rate_limit("off"), Ok(RateLimit::OFF));
        assert!(
            ["0", "-1", "%", "", "1.5", "off%", "100001"].iter().all(|text| parse_rate_limit(text).is_err())
        );
        let cli = Cli::try_parse_from(["pvir", "run", "k"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not `run`") };
        assert_eq!(run.rate_limit, RateLimit::default());
    }

    #[test]
    fn storms_are_limited_by_interrupts_a_second_or_not_at_all() {
        let limit = StormLimit::per_second(20_000);
        assert_eq!(parse_storm_limit("20000"), Ok(limit));
        assert_eq!(parse_storm_limit("20000,30000"), Ok(limit.with_vm(30_000)));
        assert_eq!(parse_storm_limit("off"), Ok(StormLimit::OFF));
        let refused =
            ["", "0", "999", "-5", "1e6", "20000,", "20000,1", ",20000", "1000,2000,3000", "off,off"];
        assert!(refused.iter().all(|text| parse_storm_limit(text).is_err()));
        let cli = Cli::try_parse_from(["pvir", "run", "k"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not `run`") };
        assert_eq!(run.storm_limit, StormLimit::default());
    }
}
