//! Builds, runs and tests `pvir`; `run.sh` is its front.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod cases;
mod image;
#[cfg(test)]
mod imports;
mod kernel;
mod lab;
mod main_job;
mod numbers;
mod process;
mod programs;
mod progress;
mod scale;
mod setup;
mod shown;
mod test;
mod work;
mod workspace;

/// Paravirtual interrupt remapping: shows it, tests it, and runs commands in its lab.
///
/// Without a command it does the main job.
#[derive(Parser)]
#[command(name = "run.sh", bin_name = "run.sh", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    main: main_job::Options,
}

#[derive(Subcommand)]
enum Task {
    Main(main_job::Options),
    Test(test::Options),
    Lab(Box<lab::Command>),
    Kernel(kernel::Options),
    Scale(scale::Options),
    Shown(shown::Options),
    Bench(bench::Options),
    Work(work::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command.unwrap_or(Task::Main(cli.main))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Main(options) => main_job::run(&options),
        Task::Test(options) => Ok(test::run(&options)),
        Task::Lab(command) => Ok(lab::command_line(&command)),
        Task::Scale(options) => scale::run(&options),
        Task::Shown(options) => shown::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Work(options) => work::run(&options),
        Task::Kernel(options) => {
            println!("{}", kernel::build(&options)?.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}
