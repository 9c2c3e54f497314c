//! The conformance suite: judges, from the inside, every statement of `docs/abi.md` that a guest can observe, on any
//! VMM that claims the contract. `docs/conformance.md` says how others run it.
//!
//! A file for each section of the page, a function for each statement. Each begins in a VM that is not enabled and
//! silent, waits for nothing without a bound, and leaves cleaning up to [`Fixture::reset`].

mod calls;
mod destinations;
mod discovery;
mod enabling;
mod entry_statuses;
mod fixture;
mod header;
mod judging;
mod mapping;
mod masks;
mod operations;
mod records;
mod refused;
mod releasing;
mod retargeting;
mod second_cpu;
mod statuses;
mod stores;
mod subject;
mod tap;
mod trapped;
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
use pvir_guest::abi::Conduits;
use pvir_guest::conduit::HardwareConduit;
use pvir_test_kernel::cmdline::CommandLine;
use pvir_test_kernel::statements::{Kind, STATEMENTS, STATUSES, Statement, same};
use subject::Subject;
use tap::Tap;
use verdict::Verdict;

/// Judges one statement.
type Test = fn(&mut Fixture) -> Verdict;
/// The tests of a file, by statement.
type Tests = &'static [(&'static str, Test)];

const SECTIONS: [Tests; 16] = [
    discovery::TESTS,
    calls::TESTS,
    header::TESTS,
    records::TESTS,
    operations::TESTS,
    enabling::TESTS,
    judging::TESTS,
    destinations::TESTS,
    mapping::TESTS,
    stores::TESTS,
    retargeting::TESTS,
    releasing::TESTS,
    masks::TESTS,
    trapped::TESTS,
    statuses::TESTS,
    entry_statuses::TESTS,
];

// Every statement that can be observed has its test, and no test is without a statement.
const _: () = assert!(count(&SECTIONS) == observed(STATEMENTS) + observed(STATUSES));
const _: () = assert!(all_judged(STATEMENTS) && all_judged(STATUSES));

/// Patience with an interrupt that must arrive, unless `patience=` says otherwise.
const PATIENCE_MS: u64 = 5_000;

/// `conformance [device names…] [conduit=msr|port|vmcall|vmmcall] [patience=milliseconds] [only=ID,ID…]`.
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
    second_cpu::remember(&fixture);
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
    let (discovered, first) = discover(line).map_err(|error| refuse(&error, ExitCode::Environment))?;
    let patience = match line.number("patience") {
        Ok(patience) => patience.unwrap_or(PATIENCE_MS),
        Err(error) => return Err(refuse(&error, ExitCode::Usage)),
    };
    let raw = Raw::new(first).ok_or_else(|| refuse(&"no memory for a block", ExitCode::Environment))?;
    let conduits = conduits(line, &discovered);
    let mut fixture = Fixture::new(raw, discovered, conduits, patience);
    let functions = pci::enumerate();
    let known = || functions.iter().filter_map(|function| Some((function, devices::name(function)?)));
    let filtered = known().any(|(_, name)| line.flag(name));
    for (function, name) in known().filter(|(_, name)| !filtered || line.flag(name)) {
        match Subject::open(function) {
            Some(subject) if !fixture.subjects.is_full() => fixture.subjects.push(subject),
            Some(_) => println!("# device {name}: one too many, left alone"),
            None => println!("# device {name}: cannot be driven"),
        }
    }
    for subject in &fixture.subjects {
        println!(
            "# device {} {}: {:?}, {} entries",
            subject.name,
            subject.id,
            subject.store(),
            subject.entries
        );
    }
    Ok(fixture)
}

/// All conduits that work here, or the one that `conduit=` names.
fn conduits(
    line: CommandLine<'static>,
    discovered: &Discovered,
) -> ArrayVec<(&'static str, HardwareConduit), 4> {
    let all = [
        ("vmcall", Conduits::VMCALL),
        ("vmmcall", Conduits::VMMCALL),
        ("msr", Conduits::MSR),
        ("port", Conduits::PORT),
    ];
    let asked = |name: &str| line.value("conduit").is_none_or(|only| only == name);
    all.into_iter()
        .filter(|(name, _)| asked(name))
        .filter_map(|(name, conduit)| Some((name, discovered.conduit_among(conduit).ok()?)))
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
