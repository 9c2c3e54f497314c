//! `pvir man` and `pvir completions`: what packages of the program ship beside it, made from its command line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command};
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
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write the manual pages to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
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
