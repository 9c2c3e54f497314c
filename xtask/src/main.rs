//! Builds, runs and tests `pvir`; `run.sh` is its front.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod kernel;
mod workspace;

#[derive(Parser)]
#[command(name = "xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the test kernel and print the path of its ELF file.
    Kernel(kernel::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Task::Kernel(options) => println!("{}", kernel::build(&options)?.display()),
    }
    Ok(ExitCode::SUCCESS)
}
