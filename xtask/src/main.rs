//! Builds, runs and tests `pvir`; `run.sh` is its front.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod image;
mod kernel;
mod lab;
mod process;
mod programs;
mod progress;
mod setup;
mod workspace;

#[derive(Parser)]
#[command(name = "run.sh", bin_name = "run.sh", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the test kernel and print the path of its ELF file.
    Kernel(kernel::Options),
    Lab(lab::Command),
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
        Task::Lab(command) => return Ok(lab::command_line(&command)),
    }
    Ok(ExitCode::SUCCESS)
}
