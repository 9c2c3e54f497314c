//! Builds, runs and tests `pvir`; `run.sh` is its front.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod build;
mod campaign;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod imports;
mod lab;
mod linux_module;
mod main_job;
mod numbers;
mod process;
mod progress;
mod release;
#[cfg(test)]
mod run_time_prints;
mod runner;
mod suite;
mod system_tests;
mod table;

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
    Test(runner::Options),
    Lab(Box<lab::Command>),
    Kernel(build::kernel::Options),
    Scale(system_tests::scale::Options),
    Saves(system_tests::saves::Options),
    Lives(system_tests::lives::Options),
    Linux(system_tests::linux::long::Options),
    Campaign(campaign::Options),
    Bench(bench::Options),
    Work(bench::work::Options),
    Api(release::api::Options),
    Dist(release::dist::Options),
    /// Say what is in the way of a release, or the commands of one; publishes nothing
    Release,
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
        Task::Test(options) => Ok(suite::run(&options)),
        Task::Lab(command) => Ok(lab::command_line(&command)),
        Task::Scale(options) => system_tests::scale::run(&options),
        Task::Saves(options) => system_tests::saves::run(&options),
        Task::Lives(options) => system_tests::lives::run(&options),
        Task::Linux(options) => system_tests::linux::long::run(&options),
        Task::Campaign(options) => campaign::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Work(options) => bench::work::run(&options),
        Task::Api(options) => release::api::run(&options),
        Task::Dist(options) => {
            println!("{}", release::dist::run(&options)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Task::Release => release::ready::run(),
        Task::Kernel(options) => {
            println!("{}", build::kernel::build(&options)?.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}
