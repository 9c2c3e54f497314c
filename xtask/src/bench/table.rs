//! The figures for people, in lines that fit a wide terminal.

use super::aims::Aim;
use super::figures::{Figures, Spread};
use super::machine::Machine;
use super::what::{Action, Subject, Testbed, Way};
use crate::numbers::grouped;
use crate::table::plain;

const LEGEND: &str = "Medians in thousands of cycles, and half of what lies between their quartiles; exits to user space by calls and by\n\
                      accesses to the table; x: times the direct way.";

const BETWEEN_WAYS: &str = "│";

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
        text += &one(figures, subject);
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

fn one(figures: &Figures, subject: &Subject) -> String {
    let there = |way: &Way| figures.get(subject, Action::SetUp, *way).is_some();
    let others: Vec<Way> = Way::ALL.into_iter().filter(|way| *way != Way::Direct).filter(there).collect();
    let of_way = |way: &Way| [way.name(), "", "exits"].map(str::to_owned);
    let mut head = [String::new()].into_iter().chain(of_way(&Way::Direct)).collect::<Vec<_>>();
    for way in &others {
        head.push(BETWEEN_WAYS.to_owned());
        head.extend(of_way(way).into_iter().chain([String::new()]));
    }
    let mut rows = Vec::new();
    for action in Action::ALL {
        let Some(direct) = figures.get(subject, action, Way::Direct) else { continue };
        let mut row = vec![action.name().to_owned()];
        row.extend(cells(Some(direct)));
        for way in &others {
            row.push(BETWEEN_WAYS.to_owned());
            row.extend(cells(figures.get(subject, action, *way)));
            row.push(figures.ratio(subject, action, *way).map(times).unwrap_or_default());
        }
        rows.push(row);
    }
    plain(head, rows)
}

/// The median, how far samples are from it, and the exits.
fn cells(spread: Option<Spread>) -> [String; 3] {
    let Some(Spread { median, low, high, exits, .. }) = spread else {
        return ["-", "", ""].map(str::to_owned);
    };
    // where there is one sample, or a quantile is asked for, nothing is known
    let around =
        if high > low { format!("±{:.0}%", (high - low) / 2.0 / median * 100.0) } else { String::new() };
    let exits = if exits > 0.0 { grouped(exits.round()) } else { "-".into() };
    [kilo(median), around, exits]
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
    let row = |aim: &Aim| {
        let bound = if aim.at_most { "at most" } else { "at least" };
        let met = if aim.is_met() { "met" } else { "MISSED" };
        vec![aim.what.clone(), bound.to_owned(), aim.aim.to_string(), times(aim.reached), met.to_owned()]
    };
    let head = ["Aims", "", "aim", "reached", ""].map(str::to_owned).to_vec();
    plain(head, aims.iter().map(row).collect()) + "\n"
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
    fn a_cell_says_only_what_is_known() {
        let spread =
            Spread { median: 2_000_000.0, low: 1_900_000.0, high: 2_300_000.0, samples: 9, exits: 18432.0 };
        let without = Spread { low: 1.0, high: 1.0, exits: 0.0, ..spread };
        assert_eq!(cells(Some(spread)), ["2,000", "±10%", "18,432"]);
        assert_eq!(cells(Some(without)), ["2,000", "", "-"]);
        assert_eq!(cells(None), ["-", "", ""]);
    }
}
