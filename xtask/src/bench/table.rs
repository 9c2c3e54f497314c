//! The figures for people, in lines that fit a wide terminal.

use std::fmt::Write;

use super::aims::Aim;
use super::figures::{Figures, Spread};
use super::machine::Machine;
use super::what::{Action, Subject, Testbed, Way};
use crate::numbers::grouped;

const LEGEND: &str = "Medians in thousands of cycles, and half of what lies between their quartiles; exits to user space by calls and by\n\
                      accesses to the table; x: times the direct way.";

/// One table for each subject.
pub(super) fn render(figures: &Figures, machine: &Machine) -> String {
    let mut text = format!("{}\n", machine.lines().join("\n"));
    if !machine.peers.is_empty() {
        text += &format!("beside: {}\n", machine.peers.join("; "));
    }
    let subjects = figures.subjects();
    text += if subjects.is_empty() { "" } else { LEGEND };
    for subject in subjects {
        text += &format!("\n\n{}\n", heading(subject, figures.runs(subject)));
        text += &one(figures, subject).join("\n");
    }
    text
}

fn heading(subject: &Subject, runs: u32) -> String {
    let Subject { device, vectors, .. } = subject;
    let of =
        |number: u32, what: &str| format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" });
    let place = match subject.place {
        Testbed::Kvm => "on this machine's KVM",
        Testbed::Lab => "in the nested lab (an EMULATOR: only the ratios mean anything)",
    };
    format!("{device}, {}, {} of each, {place}", of(*vectors, "vector"), of(runs, "run"))
}

fn one(figures: &Figures, subject: &Subject) -> Vec<String> {
    let there = |way: &Way| figures.get(subject, Action::SetUp, *way).is_some();
    let others: Vec<Way> = Way::ALL.into_iter().filter(|way| *way != Way::Direct).filter(there).collect();
    let mut head = format!("{:<22}{:>17}{:>7}", "", Way::Direct.name(), "exits");
    for way in &others {
        head += &format!(" │ {:>17}{:>7}{:>8}", way.name(), "exits", "");
    }
    let mut lines = vec![head.trim_end().to_owned()];
    for action in Action::ALL {
        let Some(direct) = figures.get(subject, action, Way::Direct) else { continue };
        let mut line = format!("{:<22}{}", action.name(), cell(Some(direct)));
        for way in &others {
            let ratio = figures.ratio(subject, action, *way).map(times).unwrap_or_default();
            line += &format!(" │ {}{ratio:>8}", cell(figures.get(subject, action, *way)));
        }
        lines.push(line);
    }
    lines
}

/// The median, how far samples are from it, and the exits.
fn cell(spread: Option<Spread>) -> String {
    let Some(Spread { median, low, high, exits, .. }) = spread else {
        return format!("{:>17}{:>7}", "-", "");
    };
    // where there is one sample, or a quantile is asked for, nothing is known
    let around =
        if high > low { format!("±{:.0}%", (high - low) / 2.0 / median * 100.0) } else { String::new() };
    let exits = if exits > 0.0 { grouped(exits.round()) } else { "-".into() };
    format!("{:>10}{around:>7}{exits:>7}", kilo(median))
}

fn kilo(cycles: f64) -> String {
    let kilo = cycles / 1000.0;
    match kilo {
        0.0..1.0 => format!("{kilo:.3}"),
        1.0..100.0 => format!("{kilo:.1}"),
        _ => grouped(kilo.round()),
    }
}

fn times(ratio: f64) -> String {
    let digits = usize::from(ratio < 10.0) + usize::from(ratio < 100.0);
    format!("{ratio:.digits$}x")
}

/// What was aimed at.
pub(super) fn aims(aims: &[Aim]) -> String {
    let mut text = String::from("Aims\n");
    for aim in aims {
        let bound = if aim.at_most { "at most" } else { "at least" };
        let met = if aim.is_met() { "met" } else { "MISSED" };
        let reached = times(aim.reached);
        // writing to a string does not fail
        let _ = writeln!(text, "{:<70}{bound:>9} {:>5}{reached:>9}  {met}", aim.what, aim.aim);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_say_something() {
        assert_eq!([94.0, 94_321.0, 1_500_400.0].map(kilo), ["0.094", "94.3", "1,500"]);
        assert_eq!([1.249, 12.34, 123.4].map(times), ["1.25x", "12.3x", "123x"]);
    }

    #[test]
    fn cells_are_of_one_width() {
        let spread =
            Spread { median: 2_000_000.0, low: 1_900_000.0, high: 2_300_000.0, samples: 9, exits: 18432.0 };
        let without = Spread { low: 1.0, high: 1.0, exits: 0.0, ..spread };
        let cells = [Some(spread), Some(without), None].map(cell);
        assert_eq!(cells[0], "     2,000   ±10% 18,432");
        assert!(cells.iter().all(|cell| cell.chars().count() == 24), "{cells:?}");
    }
}
