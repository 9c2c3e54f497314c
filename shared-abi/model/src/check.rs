//! Runs the checker.

use crate::action::Action;
use crate::area::{Area, AreaFlaw};
use crate::design::{Design, Flaw, SCOPES, Scope};
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::{Duration, Instant};

/// States that a run with a limit makes at most, distinct or not: some gigabytes.
const MOST: usize = 250_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Distinct states that were seen.
    pub states: usize,
    /// The longest of the shortest ways to a state, in actions.
    pub depth: usize,
    /// Whether these are all states of the scope.
    pub is_complete: bool,
    /// How long it took.
    pub took: Duration,
    /// Each property that does not hold, and a shortest way to where it does not.
    pub broken: Vec<(&'static str, Vec<Action>)>,
}

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Threads.
    pub threads: usize,
    /// It ends after so long, or when so many states were made that memory would run out.
    pub time: Option<Duration>,
}

/// Checks a design until everything is seen, a property is broken, or the time is over.
#[must_use]
pub fn check(design: Design, limits: Limits) -> Outcome {
    run(design, limits, HasDiscoveries::Any)
}

fn run(design: Design, limits: Limits, until: HasDiscoveries) -> Outcome {
    let started = Instant::now();
    let mut checker = Machine { design }.checker().threads(limits.threads).finish_when(until);
    if let Some(time) = limits.time {
        checker = checker.timeout(time).target_state_count(MOST);
    }
    let checker = checker.spawn_bfs().join();
    let took = started.elapsed();
    let broken: Vec<_> =
        checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions())).collect();
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: broken.is_empty()
            && limits.time.is_none_or(|time| took < time && checker.state_count() < MOST),
        took,
        broken,
    }
}

/// The scope of this name.
///
/// # Errors
/// If there is none.
pub fn scope(name: &str) -> Result<Scope> {
    let found = SCOPES.iter().find(|scope| scope.name == name).copied();
    found.with_context(|| format!("there is no scope {name}"))
}

/// Looks for a seeded error; answers with the shortest way to where its property does not hold.
///
/// # Errors
/// If that property holds in all states.
pub fn find(flaw: Flaw, limits: Limits) -> Result<Outcome> {
    let row = Flaw::ALL.iter().find(|row| row.0 == flaw);
    let (_, name, property, _) = row.with_context(|| format!("{flaw:?} is not in the table"))?;
    let until = HasDiscoveries::AnyOf([*property].into());
    let outcome = run(Design::with(flaw, scope(name)?), limits, until);
    let is_found = outcome.broken.iter().any(|(name, _)| name == property);
    ensure!(is_found, "{flaw:?} was not found in {} states of {name}: \"{property}\" holds", outcome.states);
    Ok(outcome)
}

/// Checks the event area, with an error or without; answers with the number of states.
///
/// # Errors
/// If a property does not hold.
pub fn check_area(flaw: Option<AreaFlaw>) -> Result<usize> {
    let checker = Area { flaw }.checker().spawn_bfs().join();
    if let Some((_, way)) = checker.discoveries().into_iter().find(|(name, _)| *name == crate::area::WHOLE) {
        anyhow::bail!("{}: not after {:?}", crate::area::WHOLE, way.into_actions());
    }
    ensure!(checker.discovery(crate::area::FOUND).is_some(), "{}: never", crate::area::FOUND);
    Ok(checker.unique_state_count())
}
