//! How a run ends, and the exit code that says so.

use serde::Serialize;

use super::crash::CrashReport;
use crate::exit_code::{CRASH, INTERRUPTED, TIMEOUT};

/// Why a run ended, or that it has not.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It goes on: the counts are those so far.
    Running,
    /// The guest wrote this code to the exit port.
    GuestExit {
        /// The value as written, before it is cut to an exit code.
        value: u32,
    },
    /// The guest reset the machine.
    GuestReset {
        /// The port or event by which it did.
        by: &'static str,
    },
    /// The guest switched the machine off, by ACPI's sleep control register.
    GuestPowerOff,
    /// The machine is to be saved: its vCPUs stop for it.
    SaveWanted,
    /// The machine was saved, and goes on from there.
    Saved {
        /// Bytes of the file.
        bytes: u64,
    },
    /// A signal that ends runs, Ctrl-C for one.
    Interrupted,
    /// `--timeout` passed.
    TimedOut {
        /// The limit.
        seconds: f64,
    },
    /// A host device has reported an error after which it does not work.
    DeviceFailed {
        /// Its address on the host.
        device: String,
    },
    /// A vCPU cannot go on.
    GuestCrash(Box<CrashReport>),
    /// The VMM failed while the guest ran.
    HostFailure {
        /// What failed.
        error: String,
    },
}

impl Outcome {
    /// Whether the guest runs again by itself: it has reset the machine, or a triple fault has, or it is being saved.
    pub(crate) fn is_restartable(&self) -> bool {
        match self {
            Self::GuestReset { .. } | Self::SaveWanted => true,
            Self::GuestCrash(report) => report.cause.is_reset(),
            _ => false,
        }
    }

    /// The number for the process's parent.
    pub(crate) fn code(&self) -> u8 {
        match self {
            // Not truncated: 256 must not look like success.
            Self::GuestExit { value } => u8::try_from(*value).unwrap_or(u8::MAX),
            Self::Running
            | Self::GuestReset { .. }
            | Self::GuestPowerOff
            | Self::SaveWanted
            | Self::Saved { .. } => 0,
            Self::Interrupted => INTERRUPTED,
            Self::TimedOut { .. } => TIMEOUT,
            Self::GuestCrash(_) | Self::HostFailure { .. } | Self::DeviceFailed { .. } => CRASH,
        }
    }

    /// One line for a person.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Running => "running".to_owned(),
            Self::GuestExit { value } => format!("guest exited with code {value}"),
            Self::GuestReset { by } => format!("guest reset the machine ({by})"),
            Self::GuestPowerOff => "guest switched the machine off".to_owned(),
            Self::SaveWanted => "being saved".to_owned(),
            Self::Saved { bytes } => format!("saved, in a file of {bytes} bytes"),
            Self::Interrupted => "interrupted".to_owned(),
            Self::TimedOut { seconds } => format!("stopped after --timeout {seconds}"),
            Self::DeviceFailed { device } => format!(
                "the host reports an uncorrectable error of {device}; help: the host's kernel log says which"
            ),
            Self::GuestCrash(report) => format!("guest crashed: {}", report.cause),
            Self::HostFailure { error } => format!("the VMM failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_code_passes_through_and_is_never_wrapped_to_success() {
        assert_eq!(Outcome::GuestExit { value: 0 }.code(), 0);
        assert_eq!(Outcome::GuestExit { value: 77 }.code(), 77);
        assert_eq!(Outcome::GuestExit { value: 256 }.code(), 255);
    }

    #[test]
    fn a_device_that_fails_is_no_success_and_is_named() {
        let failed = Outcome::DeviceFailed { device: "0000:06:00.0".to_owned() };
        assert_eq!(failed.code(), CRASH);
        assert!(failed.describe().contains("error of 0000:06:00.0"));
    }
}
