//! `pvir man` and `pvir completions`: what packages of the program ship beside it, made from its command line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Arg, Args, Command};
use clap_complete::Shell;

/// `pvir man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, one for the program and one for each command; it is made if it does not exist
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// `pvir completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell that shall complete `pvir`
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Writes the manual pages of `command`.
pub(crate) fn write(args: &ManArgs, command: Command) -> Result<ExitCode> {
    let directory = &args.directory;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the folder {}", directory.display()))?;
    clap_mangen::generate_to(with_aliases(command), directory)
        .with_context(|| format!("cannot write the manual pages to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Names the other names of options in their help: the generator of manual pages leaves them out.
fn with_aliases(command: Command) -> Command {
    let named = |arg: Arg| {
        let aliases = arg.get_visible_aliases().unwrap_or_default();
        let names: Vec<String> = aliases.iter().map(|alias| format!("--{alias}")).collect();
        match arg.get_help() {
            Some(help) if !names.is_empty() => {
                let help = format!("{help} [alias: {}]", names.join(", "));
                arg.help(help)
            }
            _ => arg,
        }
    };
    command.mut_args(named).mut_subcommands(with_aliases)
}

/// Prints the completions of `command`.
pub(crate) fn complete(args: &CompletionsArgs, mut command: Command) -> Result<ExitCode> {
    let name = command.get_name().to_owned();
    // in memory first: the generator panics if it cannot write
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io::stdout().write_all(&script).context("cannot print the completions")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn pages_and_completions_have_every_option_and_its_other_names() {
        let folder = tempfile::tempdir().unwrap();
        write(&ManArgs { directory: folder.path().to_owned() }, Cli::command()).unwrap();
        let page = fs::read_to_string(folder.path().join("pvir-run.1")).unwrap().replace('\\', "");
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "pvir", &mut script);
        let script = String::from_utf8(script).unwrap();
        for option in ["--append", "--cmdline", "--initrd", "--initramfs", "--serial", "--log-file"] {
            assert!(page.contains(option) && script.contains(option), "{option}");
        }
    }
}
