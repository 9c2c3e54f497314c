//! The conformance suite: judges, from the inside, every statement of `docs/abi.md` that a guest can observe, on any
//! VMM that claims the contract. `docs/conformance.md` says how others run it.
//!
//! A file for each section of the page, a function for each statement. Each begins in a VM that is not enabled and
//! silent, waits for nothing without a bound, and leaves cleaning up to [`Fixture::reset`].

mod attaching;
mod calls;
mod demand;
mod destinations;
mod device_info;
mod discovery;
mod enabling;
mod entry_statuses;
mod events;
mod fixture;
mod header;
mod judging;
mod mapping;
mod masks;
mod operations;
mod plugging;
mod records;
mod refused;
mod releasing;
mod resets;
mod retargeting;
mod second_cpu;
mod statuses;
mod stores;
mod subject;
mod tap;
mod trapped;
mod trial;
mod verdict;

use crate::machine::console::report;
use crate::machine::devices;
use crate::machine::exit::ExitCode;
use crate::machine::pci;
use crate::println;
use crate::raw::Raw;
use crate::remapping::discover;
use arrayvec::ArrayVec;
use core::fmt;
use fixture::Fixture;
use pvir_guest::Discovered;
use pvir_guest::conduit::HardwareConduit;
use pvir_test_kernel::cmdline::CommandLine;
use pvir_test_kernel::statements::{Kind, STATEMENTS, STATUSES, Statement, same};
use subject::Subject;
use tap::Tap;
use trial::{ALL, Trial, Trials};
use verdict::Verdict;

/// Judges one statement.
type Test = fn(&mut Fixture) -> Verdict;
/// The tests of a file, by statement.
type Tests = &'static [(&'static str, Test)];

const SECTIONS: [Tests; 21] = [
    discovery::TESTS,
    calls::TESTS,
    header::TESTS,
    records::TESTS,
    operations::TESTS,
    device_info::TESTS,
    plugging::TESTS,
    attaching::TESTS,
    enabling::TESTS,
    judging::TESTS,
    destinations::TESTS,
    mapping::TESTS,
    stores::TESTS,
    retargeting::TESTS,
    releasing::TESTS,
    masks::TESTS,
    trapped::TESTS,
    events::TESTS,
    resets::TESTS,
    statuses::TESTS,
    entry_statuses::TESTS,
];

// Every statement that can be observed has its test, and no test is without a statement.
const _: () = assert!(count(&SECTIONS) == observed(STATEMENTS) + observed(STATUSES));
const _: () = assert!(all_judged(STATEMENTS) && all_judged(STATUSES));

/// Patience with an interrupt that must arrive, unless `patience=` says otherwise.
const PATIENCE_MS: u64 = 5_000;

/// `conformance [device names…] [conduit=msr|port|vmcall|vmmcall] [patience=milliseconds] [events=host] [only=ID,ID…]`.
///
/// # Errors
/// What the kernel exits with if there is nothing to judge; it was told.
pub(crate) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    judge(line, |statement| match line.value("only") {
        None => true,
        Some(only) => only.split(',').any(|id| id == statement.id),
    })
}

/// Judges those statements that are asked for.
///
/// # Errors
/// What the kernel exits with if there is nothing to judge; it was told.
pub(crate) fn judge(
    line: CommandLine<'static>,
    asked: impl Fn(&Statement) -> bool,
) -> Result<ExitCode, ExitCode> {
    let mut fixture = open(line)?;
    second_cpu::follow(&fixture);
    let chosen = || STATEMENTS.iter().chain(STATUSES).filter(|statement| asked(statement));
    let mut tap = Tap::begin(chosen().count());
    for statement in chosen() {
        let verdict = test(statement.id).map_or(Ok(()), |test| {
            fixture.reset();
            test(&mut fixture)
        });
        tap.report(statement, &verdict);
    }
    fixture.reset();
    Ok(tap.finish())
}

fn open(line: CommandLine<'static>) -> Result<Fixture, ExitCode> {
    let (mut discovered, first) = discover(line).map_err(|error| refuse(&error, ExitCode::Environment))?;
    let patience = match line.number("patience") {
        Ok(patience) => patience.unwrap_or(PATIENCE_MS),
        Err(error) => return Err(refuse(&error, ExitCode::Usage)),
    };
    let raw = Raw::new(first).ok_or_else(|| refuse(&"no memory for a block", ExitCode::Environment))?;
    second_cpu::remember(&raw, &discovered);
    let asked = ALL.iter().filter(|(name, _)| line.value("conduit").is_none_or(|only| only == *name));
    let trials = trial::all(&raw, &discovered, asked.map(|(_, conduit)| *conduit).collect());
    for ((name, _), trial) in ALL.iter().zip(trials) {
        if let Some(trial) = trial {
            println!("# conduit {name} {trial}");
            report::event("conduit", |event| {
                event.str("name", name).display("outcome", trial);
            });
        }
    }
    let conduits = conduits(&discovered, &trials);
    let Some((_, first)) = conduits.first() else {
        return Err(refuse(&"D2 is broken: no conduit that the host advertises works", ExitCode::Fail));
    };
    let raw = raw.by(*first);
    // What does not work is judged by D2, and no other statement uses it.
    let working = conduits.iter().filter_map(|(name, _)| ALL.iter().find(|(of, _)| of == name));
    discovered.usable = working.map(|(_, conduit)| *conduit).collect();
    let mut fixture = Fixture::new(raw, discovered, conduits, trials, patience);
    fixture.events_by_host = line.value("events") == Some("host");
    let functions = pci::enumerate();
    let asked = |function: &pci::Function| devices::name(function).is_some_and(|name| line.flag(name));
    let filtered = functions.iter().any(asked);
    let known = |function: &&pci::Function| devices::name(function).is_some();
    // Those that can be driven first: there is room for a few.
    let all = functions.iter().filter(known).chain(functions.iter().filter(|function| !known(function)));
    for function in all.filter(|function| !filtered || asked(function)) {
        match Subject::open(function) {
            Some(subject) if !fixture.subjects.is_full() => fixture.subjects.push(subject),
            Some(subject) => println!("# device {} {}: one too many, left alone", subject.name, subject.id),
            None => {}
        }
    }
    fixture.keep_to_quotas();
    for subject in &fixture.subjects {
        println!(
            "# device {} {}: {:?}, {} entries{}",
            subject.name,
            subject.id,
            subject.store(),
            subject.entries,
            if subject.is_driven() { "" } else { ", no driver: nothing of it can be raised" }
        );
    }
    Ok(fixture)
}

/// The conduits that were tried and work.
fn conduits(discovered: &Discovered, trials: &Trials) -> ArrayVec<(&'static str, HardwareConduit), 4> {
    let tried = ALL.into_iter().zip(trials);
    tried
        .filter(|(_, trial)| **trial == Some(Trial::Works))
        .filter_map(|((name, conduit), _)| Some((name, discovered.conduit_among(conduit).ok()?)))
        .collect()
}

fn refuse(error: &dyn fmt::Display, code: ExitCode) -> ExitCode {
    println!("Bail out! {error}");
    report::result("fail", |result| {
        result.display("error", error);
    });
    code
}

fn test(id: &str) -> Option<Test> {
    let mut all = SECTIONS.iter().flat_map(|section| section.iter());
    all.find(|(of, _)| *of == id).map(|(_, test)| *test)
}

const fn count(sections: &[Tests]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < sections.len() {
        sum += sections[at].len();
        at += 1;
    }
    sum
}

const fn observed(list: &[Statement]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < list.len() {
        sum += matches!(list[at].kind, Kind::Observed) as usize;
        at += 1;
    }
    sum
}

const fn all_judged(list: &[Statement]) -> bool {
    let mut at = 0;
    while at < list.len() {
        let judged = is_judged(list[at].id, &SECTIONS);
        if judged != matches!(list[at].kind, Kind::Observed) {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_judged(id: &str, sections: &[Tests]) -> bool {
    let mut section = 0;
    while section < sections.len() {
        let mut at = 0;
        while at < sections[section].len() {
            if same(sections[section][at].0, id) {
                return true;
            }
            at += 1;
        }
        section += 1;
    }
    false
}
