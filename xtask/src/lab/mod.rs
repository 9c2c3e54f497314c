//! The nested lab: L1, a machine in QEMU with an emulated IOMMU and KVM, in which a command meets the real stack
//! without hardware for it.

mod clock;
mod devices;
mod image;
mod lost;
mod machine;
mod options;
mod qemu;
mod qmp;
mod run;
mod scratch;
mod session;
pub(crate) mod setup;
mod signals;
mod streams;
mod terminal;

pub(crate) use lost::{MachineLost, all_lost, is_made_up_for, starts_again};
pub(crate) use options::{Command, Iommu, Options};
pub(crate) use run::{Outcome, missing, prepare, run, run_with};
pub(crate) use setup::Kernel;
pub(crate) use streams::Streams;

use std::process::ExitCode;

use lab_wire::EXIT_LAB_FAILED;

/// `xtask lab`: the command's exit status becomes ours, and a lab that fails has one of its own.
pub(crate) fn command_line(command: &Command) -> ExitCode {
    match run(&command.options, &command.argv, Streams::inherited()) {
        Ok(Outcome::Ended(status)) => status.into(),
        Ok(Outcome::Interrupted(signal)) => u8::try_from(128 + signal).unwrap_or(u8::MAX).into(),
        Err(error) => {
            eprintln!("lab failed: {error:#}");
            EXIT_LAB_FAILED.into()
        }
    }
}
