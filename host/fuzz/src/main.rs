//! `pvir-fuzz`: tries a target at random, on stable Rust.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use pvir_fuzz::{TARGETS, runner};
use std::path::PathBuf;
use std::time::Duration;

/// Tries a target with inputs made at random from its corpus; prints a row of a table.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The target
    target: String,
    /// The time
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// Where random numbers start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where an input goes that shows something
    #[arg(long, value_name = "DIRECTORY", default_value = "fuzz-failures")]
    failures: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let target = TARGETS.iter().find(|target| target.name == cli.target);
    let target = target.with_context(|| format!("there is no target {}", cli.target))?;
    let tried = runner::run(target, Duration::from_secs(cli.seconds), cli.seed, &cli.failures)?;
    let seconds = tried.took.as_secs_f64();
    println!(
        "| {} | stable Rust | {} | {} | {seconds:.1} | not known |",
        target.name, cli.seed, tried.inputs
    );
    Ok(())
}
