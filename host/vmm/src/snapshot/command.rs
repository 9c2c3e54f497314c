//! `pvir save`: has a running VM saved into a file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use pvir_host::service::SaveOptions;

use crate::observation::control::client;

/// What `--help` says at its end.
pub(crate) const HELP: &str = "The run of the VM ends with code 0 when it is saved. `pvir run --restore FILE`, with the same \
    --cpus or --apic-ids, --memory and --device, goes on from there: the guest finds that its pairs are stale, and maps its \
    interrupts again. If it cannot be saved, it goes on. What a device of the host (vfio=...) holds inside is not saved: it \
    is reset, and may be another one of the same kind. A guest that programs it by pvir, with events, is told. \
    FILE is as long as the guest's RAM and takes as much room as is not zero; only its owner can read it.";

/// `pvir save`.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// The file, which is not there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Save also a VM whose guest will find a device of the host reset and is not told: one that does not program it by
    /// pvir. Its driver has to be loaded again, or whatever else makes it set up its device
    #[arg(long)]
    reset_devices: bool,
    /// Which VM: the PID of its `pvir run`, or its control socket [default: the only one that runs]
    #[arg(value_name = "PID|SOCKET")]
    vm: Option<String>,
}

/// Asks for it, and waits.
pub(crate) fn run(args: &SaveArgs) -> Result<ExitCode> {
    let socket = client::find(args.vm.as_deref())?;
    let path = args.file.as_path();
    // Opened here: it is this user's to write there, and the VM opens no files.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    let saved = client::ask_with_files(&socket, Request::of(args.reset_devices).as_str(), &[file.as_fd()]);
    let answer = saved.inspect_err(|_| remove(path))?;
    let bytes = answer.get("bytes").and_then(serde_json::Value::as_u64);
    let bytes = bytes.with_context(|| format!("the VM at {} answers in another form", socket.display()))?;
    writeln!(io::stdout(), "saved in {}: {bytes} bytes", path.display()).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// What the control socket is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// If the guest is told of each device that it will find reset.
    Told,
    /// In any case.
    Untold,
}

impl Request {
    const ALL: [Self; 2] = [Self::Told, Self::Untold];

    fn of(reset_devices: bool) -> Self {
        if reset_devices { Self::Untold } else { Self::Told }
    }

    /// As the socket has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Told => "save",
            Self::Untold => "save reset-devices",
        }
    }

    /// What a line of the socket asks for, if it is for a save.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|request| request.as_str() == line)
    }

    /// How the service is to be saved.
    pub(super) fn options(self) -> SaveOptions {
        match self {
            Self::Told => SaveOptions::default(),
            Self::Untold => SaveOptions::default().with_untold_resets(),
        }
    }
}

/// A file that is none is of no use.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!("{}: {error}", path.display());
    }
}
