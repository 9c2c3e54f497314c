//! The figures for people: a table for each question, its columns the ways.

use super::super::machine::Machine;
use super::super::pictures::Step;
use super::names::{FOR_INTERRUPTS, RUN};
use super::samples::{Figure, LIFE, NETWORK, STEPS, Samples, of_driver};
use super::way::Host;
use super::{DRIVERS, MASKS};
use crate::numbers::grouped;
use crate::table::plain;

/// What the first way is to be better by, over a whole life.
const AIM: f64 = 10.0;

const LEGEND: &str =
    "Medians. x: times what pvir with the module takes. Nothing stands where there is no such step.";

/// Whose exits are for interrupts.
pub(super) fn is_for_interrupts(figure: &Figure) -> bool {
    matches!(figure, Figure::Table | Figure::Call | Figure::Unit)
}

fn is_ioctl_for_interrupts(figure: &Figure) -> bool {
    matches!(figure, Figure::Ioctl(name) if FOR_INTERRUPTS.contains(&name.as_str()))
}

fn is_other_ioctl(figure: &Figure) -> bool {
    matches!(figure, Figure::Ioctl(name) if name != RUN && !FOR_INTERRUPTS.contains(&name.as_str()))
}

fn is_user(figure: &Figure) -> bool {
    matches!(figure, Figure::User(_))
}

fn is_exit(figure: &Figure) -> bool {
    matches!(figure, Figure::Exit(_))
}

/// All tables.
pub(super) fn render(samples: &Samples, machine: &Machine) -> String {
    let [counted, timed] = samples.runs();
    let mut parts = vec![format!(
        "{}\nbeside: {}\n{counted} runs of each way counted, {timed} timed, in turn. {LEGEND}",
        machine.lines().join("\n"),
        machine.peers.join("; ")
    )];
    let table = |title: &str, rows: &[String], of: &dyn Fn(Host, &str) -> Option<f64>| {
        format!("{title}\n{}", compared(samples, rows, of))
    };
    let rows = rows();
    parts.push(table(
        "exits to the VMM for interrupts: accesses to MSI-X tables, calls, registers of a remapping unit",
        &rows,
        &|host, step| samples.count(host, step, is_for_interrupts),
    ));
    parts.push(table(
        "ioctls of the host for interrupts: SET_GSI_ROUTING, IRQFD, SET_IRQS",
        &rows,
        &|host, step| samples.count(host, step, is_ioctl_for_interrupts),
    ));
    parts.push(table(
        "milliseconds, of the guest's clock (an EMULATOR: only the ratios mean anything); what the guest's shell does is in them",
        &rows,
        &|host, step| samples.time(host, step, &Figure::Time).map(|time| time / 1e6),
    ));
    let with_asking: Vec<String> =
        rows.iter().cloned().chain(DRIVERS.map(|driver| of_driver(driver, "nothing"))).collect();
    parts.push(table("all exits to the VMM, those of the console and of PCI too; `nothing` is what a question of the measurement takes", &with_asking, &|host, step| {
        samples.count(host, step, is_user)
    }));
    parts.push(table("all exits of the virtual CPUs", &with_asking, &|host, step| {
        samples.count(host, step, is_exit)
    }));
    for step in [NETWORK.to_owned()].into_iter().chain(DRIVERS.map(|driver| of_driver(driver, LIFE))) {
        parts.extend((!samples.figures(&step).is_empty()).then(|| by_reason(samples, &step)));
    }
    parts.push(own_share(samples));
    parts.push(aims(samples));
    parts.join("\n\n")
}

/// Boot and network, then all steps of each driver.
fn rows() -> Vec<String> {
    let of = |driver: &'static str| STEPS.into_iter().chain([LIFE]).map(move |step| of_driver(driver, step));
    [NETWORK.to_owned()].into_iter().chain(DRIVERS.into_iter().flat_map(of)).collect()
}

/// A row for each step, a column for each way, and beside it how it compares with the first.
fn compared(samples: &Samples, rows: &[String], of: &dyn Fn(Host, &str) -> Option<f64>) -> String {
    let hosts = samples.hosts();
    let mut head = vec![String::new()];
    for host in &hosts {
        head.push(host.name().to_owned());
        head.extend((*host != Host::PvirModule).then(String::new));
    }
    let row = |step: &String| {
        let first = of(Host::PvirModule, step);
        let mut cells = vec![step.clone()];
        for host in &hosts {
            let value = of(*host, step);
            cells.push(value.map(number).unwrap_or_default());
            if *host != Host::PvirModule {
                cells.push(ratio(value, first));
            }
        }
        // a step that nobody takes is no row
        cells[1..].iter().any(|cell| !cell.is_empty()).then_some(cells)
    };
    plain(head, rows.iter().filter_map(row).collect())
}

/// Every reason of a step's exits and every ioctl of it.
fn by_reason(samples: &Samples, step: &str) -> String {
    let hosts = samples.hosts();
    let head = [String::new()].into_iter().chain(hosts.iter().map(|host| host.name().to_owned())).collect();
    let of = |figure: &&Figure| {
        is_user(figure) || is_exit(figure) || is_other_ioctl(figure) || is_ioctl_for_interrupts(figure)
    };
    let row = |figure: &Figure| {
        let counts = hosts.iter().map(|host| samples.count(*host, step, |other| other == figure));
        let cells: Vec<String> = counts.map(|count| count.map(number).unwrap_or_default()).collect();
        [figure.name()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows = samples.figures(step).into_iter().filter(of).map(row).collect();
    format!("{step}, by reason\n{}", plain(head, rows))
}

/// How much of each step's time the module's calls take, from the conduit's instruction until the status is read.
fn own_share(samples: &Samples) -> String {
    let host = Host::PvirModule;
    let row = |step: &String| {
        let [all, calls] = [Figure::Time, Figure::InCalls].map(|figure| samples.time(host, step, &figure));
        let (all, calls) = (all?, calls?);
        let number_of_calls = samples.count(host, step, |figure| *figure == Figure::Call)?;
        let share = format!("{:.1}%", calls / all * 100.0);
        Some(vec![step.clone(), number(number_of_calls), number(calls / 1e6), share])
    };
    let rows = rows().iter().filter_map(row).collect();
    let head = ["", "calls", "ms in calls", "share"].map(str::to_owned).to_vec();
    format!("the module's own share of its steps' time\n{}", plain(head, rows))
}

/// Exits of a whole life, in multiples of the first way's, and whether they are as many as was aimed at.
fn aims(samples: &Samples) -> String {
    let life = |host: Host, driver: &str| samples.count(host, &of_driver(driver, LIFE), is_for_interrupts);
    let others = || samples.hosts().into_iter().filter(|host| *host != Host::PvirModule);
    let row = |(driver, host): (&str, Host)| {
        let (first, other) = (life(Host::PvirModule, driver)?, life(host, driver)?);
        let reached = other / first.max(1.0);
        let met = if reached >= AIM { "met" } else { "MISSED" };
        let cells = [
            format!("{driver}, {}", host.name()),
            number(first),
            number(other),
            ratio(Some(other), Some(first)),
            met.into(),
        ];
        Some(cells.to_vec())
    };
    let rows = DRIVERS
        .into_iter()
        .flat_map(|driver| others().map(move |host| (driver, host)))
        .filter_map(row)
        .collect();
    let head = ["", "pvir-module", "there", "", ""].map(str::to_owned).to_vec();
    format!("aim: exits for interrupts of a whole life are at most a tenth\n{}", plain(head, rows))
}

/// The bars of a picture: each step's exits for interrupts by way.
pub(super) fn bars(samples: &Samples, driver: &str) -> Vec<Step> {
    let steps = STEPS.into_iter().chain([LIFE]);
    let bar = |step: &str| {
        let of = |host: Host| {
            Some((host.mark(), samples.count(host, &of_driver(driver, step), is_for_interrupts)?))
        };
        let counts: Vec<_> = samples.hosts().into_iter().filter_map(of).collect();
        (!counts.is_empty()).then(|| Step { name: label(step), counts })
    };
    steps.filter_map(bar).collect()
}

fn label(step: &str) -> String {
    match step {
        "moves" => "affinity changes".into(),
        "masks" => format!("{MASKS} masks, unmasks"),
        "request" => "request_irq of all".into(),
        "free" => "free_irq of all".into(),
        "load" => "driver load".into(),
        "up" => "network up".into(),
        other => other.to_owned(),
    }
}

/// Without digits that say nothing.
fn number(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 || value >= 100.0 => grouped(value.round()),
        _ if value < 1.0 => format!("{value:.3}"),
        _ => format!("{value:.1}"),
    }
}

fn ratio(value: Option<f64>, first: Option<f64>) -> String {
    let (Some(value), Some(first)) = (value, first) else { return String::new() };
    if first == 0.0 {
        return if value == 0.0 { "-".into() } else { "∞".into() };
    }
    let ratio = value / first;
    let digits = usize::from(ratio < 10.0) + usize::from(ratio < 100.0);
    format!("{ratio:.digits$}x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_to_nothing_is_no_number() {
        assert_eq!(ratio(Some(600.0), Some(0.0)), "∞");
        assert_eq!(ratio(Some(0.0), Some(0.0)), "-");
        assert_eq!(ratio(None, Some(2.0)), "");
        assert_eq!(ratio(Some(811.0), Some(23.0)), "35.3x");
        assert_eq!([0.25, 12.5, 1234.5].map(number), ["0.250", "12.5", "1,235"]);
    }
}
