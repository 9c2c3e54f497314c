//! The report for people: plain text with lines drawn, at most [`WIDTH`] columns.

mod route;
mod table;
mod took;

use std::fmt::Write;
use std::time::Duration;

use super::crosscheck::Crosscheck;
use super::run_log::{HostInterrupt, RunLog};
use crate::numbers::grouped;

pub(super) const WIDTH: usize = 110;
/// It has a remapping table for each device.
const AMD: &str = "AMD-Vi";
/// More problems than this are counted only.
const MOST_PROBLEMS: usize = 20;

pub(super) struct Report<'a> {
    pub(super) run_log: &'a RunLog,
    pub(super) crosscheck: &'a Crosscheck,
    pub(super) place: &'a str,
    pub(super) at: &'a str,
    pub(super) why: &'a str,
    pub(super) elapsed: Duration,
}

/// Colours, where they are wanted.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub(super) colours: bool,
}

impl Paint {
    pub(super) fn title(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Everything but the verdict.
pub(super) fn body(report: &Report<'_>, paint: Paint) -> String {
    let mut text = format!("{}\n", wrap(&done(report), ""));
    if let Some(row) = report.crosscheck.rows.first() {
        let _ = write!(text, "\n{}\n", route::draw(row, report, paint));
    }
    if !report.crosscheck.rows.is_empty() {
        let _ = write!(text, "\n{}\n", table::draw(report.crosscheck, paint));
    }
    if let Some(host) = &report.run_log.host {
        let _ = write!(text, "\n{}\n", took::draw(host, report.crosscheck, paint));
    }
    text.push('\n');
    text
}

/// The last lines: what is wrong, and the verdict.
pub(super) fn verdict(report: &Report<'_>, paint: Paint) -> String {
    let Crosscheck { raised, handled, host_counted, problems, .. } = report.crosscheck;
    let guest = report.run_log.host.as_ref().map(|host| host.elapsed_ms);
    let guest =
        guest.map(|ms| format!(", {:.1} of them in the guest", Duration::from_millis(ms).as_secs_f64()));
    let time = format!("{:.1} seconds{}", report.elapsed.as_secs_f64(), guest.unwrap_or_default());
    if problems.is_empty() {
        let raised = grouped(*raised);
        return format!(
            "{} {raised} interrupts, none lost, none on the wrong CPU or vector ({time})\n",
            paint.good("PASS:")
        );
    }
    let mut text = String::new();
    for problem in problems.iter().take(MOST_PROBLEMS) {
        let _ = writeln!(text, "{}", wrap(&format!("✗ {problem}"), "  "));
    }
    if let Some(more) = problems.len().checked_sub(MOST_PROBLEMS).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more");
    }
    let (problem, raised, host, handled) =
        (plural(problems.len(), "problem"), grouped(*raised), grouped(*host_counted), grouped(*handled));
    let _ = writeln!(
        text,
        "{} {problem}; {raised} interrupts raised, {host} counted by the host, {handled} handled ({time})",
        paint.bad("FAIL:")
    );
    text
}

/// What was done, and where.
fn done(report: &Report<'_>) -> String {
    let Report { run_log, crosscheck, .. } = report;
    let mut devices: Vec<(&str, &str, usize)> = Vec::new();
    for row in &crosscheck.rows {
        match devices.last_mut() {
            Some((name, store, count)) if *name == row.name && *store == row.store => *count += 1,
            _ => devices.push((&row.name, &row.store, 1)),
        }
    }
    let devices: Vec<String> = devices
        .iter()
        .map(|(name, store, count)| format!("{name} ({count} {})", store_name(store)))
        .collect();
    // pvir grants no direct programming without, so an entry that was mapped proves it
    let remaps = crosscheck.rows.iter().any(|row| row.host.as_ref().is_some_and(HostInterrupt::is_physical));
    let unit = match iommu(run_log) {
        Some(kind) if remaps => format!("{kind} with interrupt remapping"),
        Some(kind) => format!("{kind} (not used)"),
        None => "no IOMMU".to_owned(),
    };
    let fact = |name: &str, unknown: &str| run_log.fact(name).unwrap_or(unknown).to_owned();
    let what = if devices.is_empty() {
        "No interrupt was mapped".to_owned()
    } else {
        let devices = devices.join(" and ");
        format!("{} interrupts of {devices} went to a guest's handlers", grouped(crosscheck.raised))
    };
    format!(
        "{what} {}: {}, {unit}, KVM ({}) of Linux {}. Why there: {}.",
        report.at,
        fact("cpu", "unknown CPU"),
        fact("kvm", "built in"),
        fact("kernel", "unknown"),
        report.why,
    )
}

/// The kind of IOMMU.
fn iommu(run_log: &RunLog) -> Option<&'static str> {
    let name = run_log.fact("iommu")?;
    Some(match name.trim_end_matches(|end: char| end.is_ascii_digit()) {
        "dmar" => "Intel VT-d",
        "ivhd" => AMD,
        _ => "an IOMMU",
    })
}

/// As the specifications write it.
fn store_name(store: &str) -> &str {
    if store == "MSIX" { "MSI-X" } else { store }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Broken between words, each line after the first indented.
fn wrap(text: &str, indent: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            let _ = write!(wrapped, "\n{indent}");
            column = indent.chars().count();
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_and_indented() {
        let wrapped = wrap(&"word ".repeat(50), "    ");
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("    word")));
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(Paint { colours: false }.bad("x"), "x");
        assert_eq!(Paint { colours: true }.bad("x"), "\x1b[1;31mx\x1b[0m");
    }
}
