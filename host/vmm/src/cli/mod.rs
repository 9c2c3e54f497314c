//! The command line.

mod apic_ids;
mod limits;
mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use run::RunArgs;

use crate::exit_code;
use crate::host_commands::{binding, devices, doctor};
use crate::manual;
use crate::observation::{event, routes};
use crate::plugging;
use crate::snapshot;

/// A small VMM with paravirtual interrupt remapping: a device's interrupts reach the guest without exits.
#[derive(Debug, Parser)]
#[command(name = "pvir", version = env!("PVIR_VERSION"), after_help = exit_code::HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What `--help` says of keys.
const KEYS: &str = "Keys at a terminal go to the guest, but for these:
  Ctrl-C, Ctrl-\\   end the run
  Ctrl-Z           stops it until it is continued (fg)
  Ctrl-A x         ends the run
  Ctrl-A KEY       gives KEY to the guest: Ctrl-C, Ctrl-Z, Ctrl-\\, Ctrl-A";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a guest kernel until it exits
    #[command(after_help = format!("{KEYS}\n\n{}", exit_code::HELP))]
    Run(Box<RunArgs>),
    /// Show the way of each interrupt of a running VM, from the device to its vCPU, with its count and rate
    #[command(after_help = routes::HELP)]
    Routes(routes::RoutesArgs),
    /// Tell the guest of a running VM that a device's pairs are stale, that it is gone or cut off; or let it go on
    #[command(after_help = event::HELP)]
    Event(event::EventArgs),
    /// Plug a device into a running VM
    #[command(after_help = plugging::PLUG_HELP)]
    Plug(plugging::PlugArgs),
    /// Unplug a device of a running VM: its guest is asked to let it go
    #[command(after_help = plugging::UNPLUG_HELP)]
    Unplug(plugging::UnplugArgs),
    /// Save a running VM into a file, from which `pvir run --restore` goes on
    #[command(after_help = snapshot::HELP)]
    Save(snapshot::SaveArgs),
    /// Say what this machine can do, one line for each check, and how to mend what it cannot
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::DoctorArgs),
    /// List the host's PCI devices: which can be passed through, and why not the rest
    Devices(devices::DevicesArgs),
    /// Give devices to vfio-pci: says what it would write where, and does it with --yes
    #[command(after_help = binding::HELP)]
    Bind(binding::BindArgs),
    /// Give devices back to the drivers that had them
    #[command(after_help = binding::HELP)]
    Unbind(binding::BindArgs),
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Write the manual pages
    Man(manual::ManArgs),
}

/// Logging, for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Say more: -v information, -vv debugging, -vvv every exit
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Filter in the syntax of tracing, for example `pvir::pci=trace`; overrides -v
    #[arg(long, value_name = "FILTER", env = "PVIR_LOG", global = true)]
    pub(crate) log: Option<String>,
    /// Write the log to a file, behind what is in it, and not to stderr. Errors that end the program stay there
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) log_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// A line that clap breaks is a paragraph of its own: behind it there is no break that is ours.
    #[test]
    fn help_is_not_broken_twice() {
        let program = Cli::command();
        for command in program.get_subcommands().chain([&program]) {
            let name = command.get_name();
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut lines = text.lines().peekable();
            while let Some(line) = lines.next() {
                let is_paragraph = !line.starts_with(' ') && lines.peek().is_none_or(|next| next.is_empty());
                assert!(line.len() < 80 || is_paragraph, "{name}: {line}");
            }
        }
    }
}
