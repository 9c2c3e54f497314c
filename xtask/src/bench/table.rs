//! The figures for people.

use std::fmt::Write;

use super::aims::Aim;
use super::figures::{Action, Figures, Place, Spread, Subject, Way};
use super::machine::Machine;

/// One table for each subject.
pub(super) fn render(figures: &Figures, machine: &Machine) -> String {
    let mut text = format!("{}\n", machine.line());
    if !machine.peers.is_empty() {
        // writing to a string does not fail
        let _ = writeln!(text, "beside: {}", machine.peers.join("; "));
    }
    for subject in figures.subjects() {
        // writing to a string does not fail
        let _ = write!(text, "\n{}\n", heading(subject));
        let _ = one(figures, subject, &mut text);
    }
    text
}

fn heading(subject: &Subject) -> String {
    let Subject { device, vectors, .. } = subject;
    match subject.place {
        Place::Kvm => format!("{device}, {vectors} vectors, on this machine's KVM"),
        Place::Lab => {
            format!(
                "{device}, {vectors} vectors, in the nested lab (an EMULATOR: only the ratios mean anything)"
            )
        }
    }
}

fn one(figures: &Figures, subject: &Subject, text: &mut String) -> std::fmt::Result {
    write!(text, "{:<22}{:>34}", "kilocycles", "direct (quartiles) exits")?;
    let others: Vec<Way> = Way::ALL[1..]
        .iter()
        .copied()
        .filter(|way| figures.get(subject, Action::SetUp, *way).is_some())
        .collect();
    for way in &others {
        write!(text, "{:>38} {:>9}", format!("{} (quartiles) exits", way.name()), "ratio")?;
    }
    writeln!(text)?;
    for action in Action::ALL {
        let Some(direct) = figures.get(subject, action, Way::Direct) else { continue };
        write!(text, "{:<22}{:>34}", action.name(), cell(direct))?;
        for way in &others {
            let (cell, ratio) = match figures.get(subject, action, *way) {
                Some(spread) => (cell(spread), format!("{:.1}x", spread.median / direct.median)),
                None => ("-".into(), "-".into()),
            };
            write!(text, "{cell:>38} {ratio:>9}")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn cell(spread: Spread) -> String {
    let Spread { median, low, high, exits, .. } = spread;
    let [median, low, high] = [median, low, high].map(kilo);
    let exits = if exits > 0.0 { format!("{exits:.0}") } else { "-".into() };
    format!("{median} ({low}..{high}) {exits:>5}")
}

fn kilo(cycles: f64) -> String {
    let kilo = cycles / 1000.0;
    if kilo < 100.0 { format!("{kilo:.1}") } else { format!("{kilo:.0}") }
}

/// What was aimed at.
pub(super) fn aims(aims: &[Aim]) -> String {
    let mut text = String::from("Aims\n");
    for aim in aims {
        let bound = if aim.at_most { "at most" } else { "at least" };
        let met = if aim.is_met() { "met" } else { "MISSED" };
        let line = format!("{:<70} {bound} {:>5}: {:>8.2} {met}", aim.what, aim.aim, aim.reached);
        // writing to a string does not fail
        let _ = writeln!(text, "{line}");
    }
    text
}
