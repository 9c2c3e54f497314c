//! The report, from the marked lines of two real runs.

use std::path::Path;
use std::time::Duration;

use super::crosscheck::Crosscheck;
use super::render::{self, Paint, Report, WIDTH};
use super::run_log::RunLog;

const LAB: &str = include_str!("testdata/lab.log");
const EMULATED: &str = include_str!("testdata/emulated.log");
/// Set, the stored text is written anew instead of compared.
const BLESS: &str = "PVIR_BLESS";

fn check(log: &str) -> Crosscheck {
    Crosscheck::of(&RunLog::parse(log), 1)
}

fn text(log: &str, colours: bool) -> String {
    let run_log = RunLog::parse(log);
    let crosscheck = Crosscheck::of(&run_log, 1);
    let report = Report {
        run_log: &run_log,
        crosscheck: &crosscheck,
        place: "lab",
        at: "in a test",
        why: "it is one",
        elapsed: Duration::from_millis(12_340),
    };
    let paint = Paint { colours };
    render::body(&report, paint) + &render::verdict(&report, paint)
}

/// Replaces exactly one place.
fn damaged(log: &str, right: &str, wrong: &str) -> String {
    assert!(log.contains(right), "{right} is not in the log");
    log.replacen(right, wrong, 1)
}

#[track_caller]
fn fails(log: &str, reason: &str) {
    let crosscheck = check(log);
    assert!(crosscheck.problems.iter().any(|problem| problem.contains(reason)), "{:?}", crosscheck.problems);
    assert!(!crosscheck.passed());
    assert!(text(log, false).contains("\nFAIL: "));
}

#[test]
fn real_runs_pass() {
    for log in [LAB, EMULATED] {
        assert_eq!(check(log).problems, [""; 0]);
        assert!(text(log, false).contains("\nPASS: "));
    }
}

#[test]
fn the_text_is_as_stored() {
    for (name, log) in [("lab", LAB), ("emulated", EMULATED)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/main_job/testdata/{name}.txt"));
        let text = text(log, false);
        if std::env::var_os(BLESS).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, stored, "{}; {BLESS}=1 writes it anew", path.display());
    }
}

#[test]
fn no_line_is_too_wide_and_only_colours_differ() {
    for log in [LAB, EMULATED] {
        let plain = text(log, false);
        for line in plain.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line, line.trim_end());
        }
        let mut coloured = text(log, true);
        for code in ["\x1b[1m", "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(plain, coloured);
    }
}

#[test]
fn an_interrupt_that_the_guest_lost_is_found() {
    fails(
        &damaged(LAB, r#""raised":2,"handled":2"#, r#""raised":2,"handled":1"#),
        "igb 0: 1 of 2 lost while mapped",
    );
}

#[test]
fn an_interrupt_too_many_is_found() {
    let log = damaged(LAB, r#""raised":2,"handled":2"#, r#""raised":2,"handled":3"#);
    fails(&log, "1 handled that were not raised");
}

#[test]
fn an_interrupt_on_the_wrong_cpu_is_found() {
    fails(&damaged(LAB, r#""elsewhere":0"#, r#""elsewhere":1"#), "1 on the wrong CPU or vector");
}

#[test]
fn an_interrupt_that_only_the_host_lost_or_saw_is_found() {
    let row = check(LAB).rows.swap_remove(0);
    let count = row.host.unwrap().count.unwrap();
    let right = format!("\"count\":{count}");
    fails(&damaged(LAB, &right, &format!("\"count\":{}", count - 1)), "the host saw");
    fails(&damaged(LAB, &right, &format!("\"count\":{}", count + 1)), "the host saw");
    fails(&damaged(LAB, &right, "\"count\":null"), "the host has no count");
}

#[test]
fn a_pair_that_differs_is_found() {
    let row = check(LAB).rows.swap_remove(0);
    let right = format!(r#""address":"{}""#, row.address);
    let log = damaged(LAB, &right, r#""address":"0xfee00000""#);
    fails(&log, "its pair changed");
    fails(&log, "the host's pair is");
}

#[test]
fn exits_for_the_table_are_found() {
    fails(
        &damaged(LAB, r#""msix":true,"reads":0"#, r#""msix":true,"reads":7"#),
        "7 accesses to MSI-X tables",
    );
}

#[test]
fn a_run_that_ends_early_fails_with_what_is_missing() {
    let half: String = LAB.lines().take(LAB.lines().count() / 2).map(|line| format!("{line}\n")).collect();
    fails(&half, "the guest did not come to a result");
    fails(&half, "there is no report of the host");
    fails("", "the guest mapped no interrupt");
}

#[test]
fn fewer_interrupts_than_asked_for_are_found() {
    let crosscheck = Crosscheck::of(&RunLog::parse(LAB), 1_000_000);
    assert!(
        crosscheck.problems[0].starts_with("1000000 interrupts were asked for"),
        "{:?}",
        crosscheck.problems
    );
}
