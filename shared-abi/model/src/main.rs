//! `pvir-model`: checks the model, and that it finds the errors that were seeded.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use pvir_model::area::AreaFlaw;
use pvir_model::check::{Limits, Outcome, check, check_area, find, scope};
use pvir_model::design::{Design, Flaw, SCOPES, Scope, larger};
use std::time::Duration;

/// Checks the model of pvir's contract in all its states.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Every state of every scope
    Gate {
        /// Only this scope
        #[arg(long)]
        scope: Option<String>,
    },
    /// Every seeded error, or one with the way to it
    Flaws {
        /// Only this one
        #[arg(long)]
        only: Option<String>,
    },
    /// The names of the scopes
    Scopes,
    /// A scope with more choices, until all is seen or the time is over; prints a row of a table
    Campaign {
        /// The scope
        scope: String,
        /// The time
        #[arg(long, value_name = "S")]
        seconds: u64,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Task::Gate { scope } => gate(scope.as_deref()),
        Task::Flaws { only } => flaws(only.as_deref()),
        Task::Scopes => {
            SCOPES.iter().for_each(|scope| println!("{}", scope.name));
            Ok(())
        }
        Task::Campaign { scope, seconds } => campaign(&scope, Duration::from_secs(seconds)),
    }
}

fn limits() -> Limits {
    Limits { threads: std::thread::available_parallelism().map_or(1, usize::from), time: None }
}

fn gate(only: Option<&str>) -> Result<()> {
    let mut total = 0;
    for scope in SCOPES.into_iter().filter(|scope| only.is_none_or(|only| only == scope.name)) {
        let outcome = check(Design::right(scope), limits());
        println!("{}", row(&scope, &outcome));
        judge(&scope, &outcome)?;
        total += outcome.states;
    }
    let area = check_area(None)?;
    println!("{total} distinct states, and {area} of the event area: every property holds in each");
    Ok(())
}

fn campaign(name: &str, time: Duration) -> Result<()> {
    scope(name)?;
    for scope in larger().into_iter().filter(|scope| scope.name == name) {
        let outcome = check(Design::right(scope), Limits { time: Some(time), ..limits() });
        println!("{}", row(&scope, &outcome));
        judge(&scope, &outcome)?;
    }
    Ok(())
}

fn row(scope: &Scope, outcome: &Outcome) -> String {
    let Outcome { states, depth, took, .. } = outcome;
    let all = if outcome.is_complete { "all" } else { "not all" };
    format!("| {:<11} | {states:>10} | {all:<7} | {depth:>3} | {:>6.1} |", scope.name, took.as_secs_f64())
}

fn judge(scope: &Scope, outcome: &Outcome) -> Result<()> {
    explain(outcome);
    ensure!(outcome.broken.is_empty(), "a property does not hold in {}", scope.name);
    Ok(())
}

fn explain(outcome: &Outcome) {
    for (name, way) in &outcome.broken {
        println!("BROKEN: {name}, after");
        way.iter().for_each(|action| println!("    {action:?}"));
    }
}

fn flaws(only: Option<&str>) -> Result<()> {
    let (mut found, mut missed) = (0, Vec::new());
    for (flaw, scope, property, _) in Flaw::ALL {
        let name = format!("{flaw:?}");
        if only.is_some_and(|only| only != name) {
            continue;
        }
        match find(*flaw, limits()) {
            Ok(outcome) => {
                found += 1;
                let steps =
                    outcome.broken.iter().find(|(name, _)| name == property).map_or(0, |(_, way)| way.len());
                println!(
                    "{name:<22} {scope:<11} {steps:>2} steps, {:>7} states: not \"{property}\"",
                    outcome.states
                );
                if only.is_some() {
                    explain(&outcome);
                }
            }
            Err(error) => missed.push(format!("{error:#}")),
        }
    }
    for (flaw, _) in AreaFlaw::ALL.iter().filter(|_| only.is_none()) {
        match check_area(Some(*flaw)) {
            Ok(_) => missed.push(format!("{flaw:?} was not found")),
            Err(_) => found += 1,
        }
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    println!("{found} seeded errors, each found by the property that it breaks");
    Ok(())
}
