//! `pvir`: a small VMM on KVM, made to run guests with paravirtual interrupt remapping.
//!
//! [`run_program`] is the whole program, from its command line to its exit code. An [`Assembly`] chooses the parts of the
//! machine that it runs: whoever embeds the VMM may put its own service, guest memory, interrupt router or devices in
//! place of those here, or around them. The program itself takes them as they are ([`OwnParts`]).
//!
//! `host_commands` look at the host and start no guest of the user's. `run` puts the parts together: a `vm` with its
//! memory, into which `boot` loads a kernel, a `pci` bus with `devices`, and the threads of its `vcpu`s.
//! `observation` is what it tells of itself, at its end and while it runs. The `service` that guests call is the
//! library's; the vCPUs see it as [`Hypercalls`].

// Nothing at run time fails, panics or waits because a standard stream is full, closed or not read.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod assembly;
mod boot;
mod cli;
mod descriptors;
mod device_spec;
mod devices;
mod exit_code;
#[cfg(test)]
mod fake_host;
mod foreground;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod host_commands;
mod json_target;
mod leaving;
mod manual;
mod memory_size;
mod observation;
mod output;
mod pci;
mod plugging;
mod restart;
mod results;
mod run;
mod sandbox;
mod serial_target;
mod service;
mod signals;
mod snapshot;
mod socket_file;
mod vcpu;
mod vm;
mod watch;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

pub use crate::assembly::{Assembly, HostDevice, OwnParts};
use crate::cli::{Cli, Command, LogArgs};
use crate::devices::terminal;
use crate::json_target::JsonTarget;
use crate::output::file;
use crate::output::inherited;
use crate::output::log::LogOutput;
use crate::output::stream::{self, Patience, Stream};
pub use crate::pci::registers::FunctionRegisters;
use crate::sandbox::Sandbox;
pub use pvir_host::conduit::Hypercalls;

/// Runs the command line `arguments`, the first of which is the program's name, on a machine of the parts that `assembly`
/// chooses. A wrong command line, `--help` and `--version` end the process.
pub fn run_program(arguments: impl IntoIterator<Item = OsString>, assembly: &dyn Assembly) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    let json = match json_descriptor(&cli) {
        Ok(json) => json,
        Err(error) => {
            results::say(&format!("pvir: {error:#}"));
            return ExitCode::from(exit_code::ENVIRONMENT);
        }
    };
    let sandbox = match sandbox_of(&cli) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            results::say(&format!("pvir: --sandbox: {error:#}"));
            return ExitCode::from(exit_code::ENVIRONMENT);
        }
    };
    let err = match stream::of_standard("stderr", io::stderr(), &sandbox) {
        Ok(err) => err,
        Err(error) => {
            results::say(&format!("pvir: cannot set up stderr: {error}"));
            return ExitCode::from(exit_code::ENVIRONMENT);
        }
    };
    let log = match log_stream(&cli.log, &err, &sandbox) {
        Ok(log) => log,
        Err(error) => {
            results::say(&format!("pvir: {error:#}"));
            return ExitCode::from(exit_code::ENVIRONMENT);
        }
    };
    let code = run_command(&cli, assembly, &err, &log, json, &sandbox);
    if let Some(path) = &cli.log.log_file {
        let loss = log.drain(Patience::STOPPED);
        if loss.bytes > 0 {
            let name = path.display();
            err.put_line(&format!(
                "pvir: --log-file {name}: {} bytes are lost: {}",
                loss.bytes,
                loss.reason()
            ));
        }
    }
    err.drain(Patience::STOPPED);
    code
}

/// The inherited descriptor that `--json` names.
fn json_descriptor(cli: &Cli) -> anyhow::Result<Option<OwnedFd>> {
    let Command::Run(args) = &cli.command else { return Ok(None) };
    let Some(JsonTarget::Descriptor(number)) = args.json else { return Ok(None) };
    inherited::claim(number).with_context(|| format!("--json fd={number}")).map(Some)
}

/// Where the log goes.
fn log_stream(args: &LogArgs, err: &Stream, sandbox: &Sandbox) -> anyhow::Result<Stream> {
    let Some(path) = &args.log_file else { return Ok(err.clone()) };
    let file = file::append("--log-file", path)?;
    Stream::start("log", file, sandbox).context("cannot start the thread of --log-file")
}

/// That of `pvir run`; other commands have none.
fn sandbox_of(cli: &Cli) -> anyhow::Result<Sandbox> {
    match &cli.command {
        Command::Run(args) => Sandbox::new(args.sandbox, terminal::restore_at_once),
        _ => Ok(Sandbox::off()),
    }
}

fn run_command(
    cli: &Cli,
    assembly: &dyn Assembly,
    err: &Stream,
    log: &Stream,
    json: Option<OwnedFd>,
    sandbox: &Sandbox,
) -> ExitCode {
    if let Err(error) = start_log(&cli.log, log) {
        let from = if std::env::var("PVIR_LOG").ok() == cli.log.log { "PVIR_LOG" } else { "--log" };
        err.put_line(&format!("pvir: {from}: {error}"));
        return ExitCode::from(exit_code::USAGE);
    }
    let result = match &cli.command {
        Command::Routes(args) => observation::routes::run(args),
        Command::Event(args) => observation::event::run(args),
        Command::Plug(args) => plugging::run_plug(args),
        Command::Unplug(args) => plugging::run_unplug(args),
        Command::Save(args) => snapshot::run_command(args),
        Command::Run(args) => run::run(args, assembly, err, json, sandbox),
        Command::Doctor(args) => host_commands::doctor::run(args),
        Command::Devices(args) => host_commands::devices::run(args),
        Command::Bind(args) => host_commands::binding::bind(args),
        Command::Unbind(args) => host_commands::binding::unbind(args),
        Command::Completions(args) => manual::complete(args, Cli::command()),
        Command::Man(args) => manual::write(args, Cli::command()),
    };
    match result {
        Ok(code) => code,
        // `pvir devices | head`: it has what it wanted.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            err.put_line(&format!("pvir: {error:#}"));
            ExitCode::from(exit_code::ENVIRONMENT)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn start_log(args: &LogArgs, log: &Stream) -> Result<(), tracing_subscriber::filter::ParseError> {
    let level = match args.verbose {
        // That library warns of what every device without PCI Express error reporting lacks.
        0 => "warn,vfio_ioctls=error",
        1 => "info,vfio_ioctls=error",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_new(args.log.as_deref().unwrap_or(level))?;
    // https://no-color.org: whatever it is, but nothing.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogOutput(log.clone()))
        // It would say to stderr that stderr cannot be written to, and panic.
        .log_internal_errors(false)
        .with_ansi(args.log_file.is_none() && io::stderr().is_terminal() && !no_color)
        .with_target(args.verbose > 1)
        .init();
    Ok(())
}
